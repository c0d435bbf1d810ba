"""
The batches of one loop under everything that callers, time and their own ends can do, beside a model.

The model keeps the history of every item and works the answers out from that each time: who waits, what is full,
whose turn it is. Conservation: every accepted item is sent at most once and, if somebody waits to the end, gets
exactly one outcome; no batch mixes groups, exceeds its bounds or changes the order of arrival.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resilient_ai._batch import ENDED, FILLING, RIPE, RUNNING, BatchConfig, Item, Ledger, Line

CONFIGS = st.builds(
    BatchConfig,
    batch_size=st.integers(1, 4),
    batch_timeout=st.sampled_from([0.0, 5.0]),
    max_queue_size=st.sampled_from([2, 5, 100]),
    max_concurrency=st.sampled_from([None, 1, 2]),
    max_weight=st.sampled_from([None, 6.0]),
    deduplicate=st.booleans(),
)


class Caller:
    """One call as the model sees it."""

    def __init__(self, number: int, item: Item, group: str, value: int, weight: float, now: float) -> None:
        self.number = number
        self.item = item
        self.group = group
        self.value = value
        self.weight = weight
        self.since = now
        self.gone = False
        self.outcomes = 0


class BatchMachine(RuleBasedStateMachine):
    @initialize(config=CONFIGS)
    def begin(self, config: BatchConfig) -> None:
        self.now = 1000.0
        self.config = config
        self.ledger = Ledger()
        self.line = Line(config, self.ledger)
        self.callers: list[Caller] = []
        self.sent: list[object] = []  # batches, in the order in which they started
        self.rejected = 0

    # -- what the model knows

    def waiting(self) -> list[Caller]:
        """Callers whose item has not been sent; duplicates count once."""
        seen: dict[int, Caller] = {}
        for caller in self.callers:
            if not caller.gone and caller.item.batch.phase in (FILLING, RIPE):
                seen.setdefault(id(caller.item), caller)
        return list(seen.values())

    def running(self) -> list[object]:
        return [batch for batch in self.sent if batch.phase is RUNNING]

    def heard(self) -> None:
        """What the line says has started."""
        for batch in self.line.started:
            assert batch not in self.sent
            assert batch.phase is RUNNING
            self.sent.append(batch)
        self.line.started.clear()

    # -- what callers do

    @rule(group=st.sampled_from("xyz"), value=st.integers(0, 3), weight=st.sampled_from([0.0, 1.0, 2.5, 6.0, 9.0]))
    def join(self, group: str, value: int, weight: float) -> None:
        number = len(self.callers)
        full = len(self.waiting()) >= self.config.max_queue_size
        twin = value if self.config.deduplicate else None
        known = [
            caller.item
            for caller in self.callers
            if caller.group == group
            and caller.value == value
            and not caller.item.settled
            and (caller.item.batch.phase in (FILLING, RIPE, RUNNING))
            and caller.item.waiters
        ]
        item = self.line.join(group, value, number, self.now, weight=weight, twin=twin)
        self.heard()

        if self.config.deduplicate and known:
            assert item in known
        elif full:
            assert item is None
        else:
            assert item is not None
            assert item.value == value
            assert item.batch.group == group
        if item is None:
            self.rejected += 1
        else:
            self.callers.append(Caller(number, item, group, value, weight, self.now))

    @precondition(lambda self: any(not caller.gone for caller in self.callers))
    @rule(pick=st.integers(0, 50))
    def leave(self, pick: int) -> None:
        present = [caller for caller in self.callers if not caller.gone]
        caller = present[pick % len(present)]
        batch = caller.item.batch
        others = [each for each in present if each is not caller and each.item.batch is batch and not each.outcomes]
        settled = caller.item.settled
        ended = batch.phase is ENDED
        abandoned = self.line.leave(caller.item, caller.number)
        self.heard()
        caller.gone = True

        assert abandoned == (not settled and not ended and not others)
        if abandoned and batch.phase is RUNNING:  # the shell ends what nobody waits for
            assert self.line.finish(batch, self.now) == []
            self.heard()

    # -- what time does

    @rule(seconds=st.sampled_from([0.0, 4.9, 5.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.waiting())
    @rule(pick=st.integers(0, 50))
    def due(self, pick: int) -> None:
        waiting = self.waiting()
        batch = waiting[pick % len(waiting)].item.batch
        self.now = max(self.now, batch.due)
        limit = self.config.max_concurrency
        place = limit is None or len(self.running()) < limit
        was = batch.phase
        self.line.due(batch, self.now)
        self.heard()

        if was is FILLING:
            assert batch.phase is (RUNNING if place else RIPE)
        else:
            assert batch.phase is was

    # -- what the function does

    @precondition(lambda self: self.running())
    @rule(pick=st.integers(0, 50), failed=st.booleans(), half=st.booleans())
    def deal(self, pick: int, failed: bool, half: bool) -> None:
        """The function answers, for all items or (when a batch is bisected) for the first half."""
        running = self.running()
        batch = running[pick % len(running)]
        items = [item for item in batch.items if not item.settled]
        items = items[: (len(items) + 1) // 2] if half else items
        for item in items:
            for number in item.waiters:
                self.callers[number].outcomes += 1
        before = self.ledger.answered + self.ledger.failed
        heard = sum(len(item.waiters) for item in items)
        self.line.settle(items, failed=failed)

        assert self.ledger.answered + self.ledger.failed == before + heard
        if not half:
            self.end(batch, lost=0)

    @precondition(lambda self: self.running())
    @rule(pick=st.integers(0, 50))
    def vanish(self, pick: int) -> None:
        """The task that runs a batch goes away without a result: who waits must be told."""
        running = self.running()
        batch = running[pick % len(running)]
        lost = [item for item in batch.items if item.waiters and not item.settled]
        for item in lost:
            for number in item.waiters:
                self.callers[number].outcomes += 1
        self.end(batch, lost=len(lost))
        self.line.settle(lost, failed=True)

    def end(self, batch: object, lost: int) -> None:
        limit = self.config.max_concurrency
        wanting = [caller.item.batch for caller in self.waiting() if caller.item.batch.phase is RIPE]
        started = len(self.sent)
        left = self.line.finish(batch, self.now)
        self.heard()

        assert len(left) == lost
        assert batch.phase is ENDED
        assert self.line.finish(batch, self.now) == []
        # Its place goes to exactly one of those that want one.
        assert len(self.sent) - started == int(limit is not None and bool(wanting))

    @precondition(lambda self: self.config.max_concurrency is not None)
    @rule()
    def three_groups_want_the_only_places(self) -> None:
        """Macro: fill every place, and let full batches of three groups queue for them."""
        for group in "xyzxyz":
            for value in range(self.config.batch_size):
                self.join(group, value, 1.0)

    # -- what must always hold

    @invariant()
    def no_batch_breaks_its_bounds(self) -> None:
        for caller in self.callers:
            batch = caller.item.batch
            assert len(batch.items) <= self.config.batch_size
            assert {item.batch for item in batch.items} <= {batch}
            weight = sum(item.weight for item in batch.items)
            if self.config.max_weight is not None and batch.phase in (FILLING, RIPE):
                assert batch.weight == pytest.approx(weight)
                assert weight <= self.config.max_weight or len(batch.items) == 1

    @invariant()
    def the_order_of_arrival_is_kept(self) -> None:
        first = {}
        for caller in self.callers:
            first.setdefault(id(caller.item), caller.number)
        for batch in {caller.item.batch for caller in self.callers}:
            numbers = [first[id(item)] for item in batch.items]
            assert numbers == sorted(numbers)

    @invariant()
    def batches_of_a_group_start_in_the_order_in_which_they_were_opened(self) -> None:
        first: dict[int, int] = {}
        for caller in self.callers:
            first.setdefault(id(caller.item.batch), caller.number)
        for group in "xyz":
            opened = [first[id(batch)] for batch in self.sent if batch.group == group]
            assert opened == sorted(opened)

    @invariant()
    def the_numbers_are_exact(self) -> None:
        ledger = self.ledger
        assert ledger.requests == len(self.callers)
        assert ledger.rejected == self.rejected
        assert ledger.waiting == len(self.waiting())
        assert ledger.running == len(self.running()) == len(self.line.running)
        assert ledger.batches == len(self.sent)
        assert ledger.answered + ledger.failed == sum(caller.outcomes for caller in self.callers)
        limit = self.config.max_concurrency
        assert limit is None or ledger.running <= limit

    @invariant()
    def nobody_gets_two_outcomes(self) -> None:
        assert all(caller.outcomes <= 1 for caller in self.callers)

    @invariant()
    def nothing_waits_for_a_place_while_one_is_free(self) -> None:
        ripe = [caller for caller in self.waiting() if caller.item.batch.phase is RIPE]
        if ripe:
            assert len(self.running()) == self.config.max_concurrency

    def teardown(self) -> None:
        """Let everything run out: whoever stayed has exactly one outcome, and nothing is left behind."""
        if not hasattr(self, "line"):
            return
        for _ in range(10 * len(self.callers) + 10):
            if self.running():
                self.deal(0, failed=False, half=False)
            elif self.waiting():
                self.due(0)
        assert not self.running()
        assert not self.waiting()
        for caller in self.callers:
            assert caller.gone or caller.outcomes == 1
        left = sum(caller.gone and not caller.outcomes for caller in self.callers)
        assert self.ledger.left == left
        assert not self.line.running
        assert self.line.is_empty()


TestBatchMachine = BatchMachine.TestCase
TestBatchMachine.settings = settings(stateful_step_count=40)


def test_a_group_with_many_batches_does_not_hold_up_the_others() -> None:
    line = Line(BatchConfig(batch_size=1, max_concurrency=1), Ledger())
    for number, group in enumerate("xxxxyz"):
        line.join(group, number, number, 0.0)
    order = []
    while line.running:
        (batch,) = line.running
        order.append(batch.group)
        line.finish(batch, 0.0)

    assert "".join(order) == "xxyzxx"
