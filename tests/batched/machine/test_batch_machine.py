"""
The batches of one loop under everything that callers, time and their own ends can do, beside a model.

The model keeps every caller that ever came and works the answers out from them each time: who waits, what is full,
who is owed an outcome. Conservation: every accepted item is sent at most once and gets exactly one outcome unless
its caller leaves first; no batch mixes groups, breaks a bound or changes the order of arrival.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resilient_ai._batched.config import BatchConfig
from resilient_ai._batched.counters import Counters
from resilient_ai._batched.queue import ENDED, FILLING, READY, RUNNING, Batch, BatchQueue

CONFIGS = st.builds(
    BatchConfig,
    batch_size=st.integers(1, 4),
    batch_timeout=st.sampled_from([0.0, 5.0]),
    max_queue_size=st.sampled_from([2, 5, 100]),
    max_concurrency=st.sampled_from([None, 1, 2]),
    max_weight=st.sampled_from([None, 6.0]),
)


class Caller:
    """One call as the model sees it."""

    def __init__(self, number: int, group: str, weight: float) -> None:
        self.number = number
        self.batch: Batch | None = None  # and as long as there is none, the caller waits for room
        self.group = group
        self.weight = weight
        self.gone = False
        self.outcomes = 0


class BatchMachine(RuleBasedStateMachine):
    @initialize(config=CONFIGS)
    def begin(self, config: BatchConfig) -> None:
        self.now = 1000.0
        self.config = config
        self.counters = Counters()
        self.queue = BatchQueue(config, self.counters)
        self.callers: list[Caller] = []
        self.sent: list[Batch] = []  # in the order in which they started
        self.sizes: list[int] = []  # what was in them then
        self.closed: set[Batch] = set()  # to more items
        self.unsent = 0

    # -- what the model knows

    def present(self, *, waiting: bool = False) -> list[Caller]:
        """Callers that are owed an outcome; with `waiting`, those not sent yet."""
        owed = [caller for caller in self.callers if caller.batch and not caller.gone and not caller.outcomes]
        return [caller for caller in owed if caller.batch.phase in (FILLING, READY)] if waiting else owed

    def waiting_for_room(self) -> list[Caller]:
        """Callers that wait for room."""
        return [caller for caller in self.callers if caller.batch is None and not caller.gone]

    def weight_of(self, batch: Batch) -> float:
        return sum(caller.weight for caller in self.present() if caller.batch is batch)

    def running(self) -> list[Batch]:
        return [batch for batch in self.sent if batch.phase is RUNNING]

    def heard(self) -> None:
        """Note what has started, and let in the waiters that there is room for now."""
        self.note_started()
        while (first := self.queue.first_with_room()) is not None:
            caller = self.waiting_for_room()[0]
            assert caller.number == first
            self.queue.let_in(first)
            self.put(caller)

    def note_started(self) -> None:
        for batch in self.queue.started:
            assert batch not in self.sent
            assert batch.phase is RUNNING
            assert batch.items
            self.sent.append(batch)
            self.sizes.append(len(batch.items))
        self.queue.started.clear()

    # -- what callers do

    @rule(
        group=st.sampled_from("xyz"),
        weight=st.sampled_from([0.0, 2.0, 3.0, 6.0, 9.0]),
        shortcut=st.booleans(),
        waits=st.booleans(),
    )
    def join(self, group: str, weight: float, shortcut: bool, waits: bool) -> None:
        """With `waits`, the caller waits for room where there is none."""
        full = len(self.present(waiting=True)) >= self.config.max_queue_size
        caller = Caller(len(self.callers), group, weight if self.config.max_weight is not None else 0.0)
        if not full:
            self.callers.append(caller)
            self.put(caller, shortcut=shortcut)
            self.heard()
            return
        assert not shortcut or self.queue.add_fast(group, "item", caller.number) is None
        assert self.queue.add(group, "item", caller.number, self.now, caller.weight) is None
        if waits:
            self.callers.append(caller)
            self.queue.wait_for_room(caller.number)
            self.heard()

    def put(self, caller: Caller, *, shortcut: bool = False) -> None:
        """Add the item of a caller to a batch, which there is room for."""
        number, group = caller.number, caller.group
        most = self.config.max_weight
        open_to = {other.batch for other in self.present(waiting=True) if other.group == group} - self.closed
        before = open_to.pop() if open_to else None
        assert not open_to
        fits = before is not None and (most is None or self.weight_of(before) + caller.weight <= most)
        batch = self.queue.add_fast(group, f"item {number}", number) if shortcut else None
        if batch is not None:  # the short way is for items that change nothing
            assert not self.queue.started
            assert most is None
        else:
            batch = self.queue.add(group, f"item {number}", number, self.now, caller.weight)
        assert batch is not None
        caller.batch = batch
        self.note_started()

        assert batch.group == group
        assert batch.items[number] == f"item {number}"
        assert (batch is before) == fits
        if before is not None and not fits:
            self.closed.add(before)
            assert before.phase in (READY, RUNNING)
        owed = sum(each.batch is batch for each in self.present())
        if owed == self.config.batch_size or (most is not None and self.weight_of(batch) >= most):
            self.closed.add(batch)
            assert batch.phase in (READY, RUNNING)
        else:
            assert batch.phase in (FILLING, READY)

    @precondition(lambda self: self.waiting_for_room())
    @rule(pick=st.integers(0, 20))
    def leave_the_queue(self, pick: int) -> None:
        waiting = self.waiting_for_room()
        caller = waiting[pick % len(waiting)]
        caller.gone = True
        self.unsent += 1
        for _ in range(2):  # a second time changes nothing
            self.queue.stop_waiting(caller.number)
        self.heard()

    @precondition(lambda self: any(caller.batch for caller in self.callers))
    @rule(pick=st.integers(0, 100))
    def leave(self, pick: int) -> None:
        callers = [caller for caller in self.callers if caller.batch]
        caller = callers[pick % len(callers)]
        batch, owed = caller.batch, caller in self.present()
        waiting = caller in self.present(waiting=True)
        others = [each for each in self.present() if each is not caller and each.batch is batch]
        abandoned = self.queue.leave(batch, caller.number)
        caller.gone = caller.gone or owed
        self.unsent += waiting
        self.heard()

        assert abandoned == (owed and not others)
        if abandoned and batch.phase is RUNNING:  # the shell ends what nobody waits for
            self.end(batch, lost=[])

    # -- what time does

    @rule(seconds=st.sampled_from([0.0, 4.9, 5.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.present(waiting=True))
    @rule(pick=st.integers(0, 50))
    def due(self, pick: int) -> None:
        waiting = self.present(waiting=True)
        batch = waiting[pick % len(waiting)].batch
        self.now = max(self.now, batch.due)
        limit = self.config.max_concurrency
        place = limit is None or len(self.running()) < limit
        was = batch.phase
        self.queue.time_is_over(batch, self.now)
        self.heard()

        if was is FILLING:
            assert batch.phase is (RUNNING if place else READY)
        else:
            assert batch.phase is was

    # -- what the function does

    @precondition(lambda self: self.running())
    @rule(pick=st.integers(0, 50), failed=st.booleans(), half=st.booleans())
    def deal(self, pick: int, failed: bool, half: bool) -> None:
        """The function answers, for all items or (when a batch is halved) for the first half of those left."""
        running = self.running()
        batch = running[pick % len(running)]
        waiters = list(batch.items)
        waiters = waiters[: (len(waiters) + 1) // 2] if half else waiters
        before = self.counters.answered, self.counters.failed
        for number in waiters:
            self.callers[number].outcomes += 1
        self.queue.settle(batch, waiters, failed=failed)

        counted = self.counters.answered - before[0], self.counters.failed - before[1]
        assert counted == ((0, len(waiters)) if failed else (len(waiters), 0))
        self.queue.settle(batch, waiters, failed=failed)  # a second outcome changes nothing
        if not batch.items:
            self.end(batch, lost=[])

    @precondition(lambda self: self.running())
    @rule(pick=st.integers(0, 50))
    def vanish(self, pick: int) -> None:
        """The task that runs a batch goes away without a result: whoever waits must be told."""
        running = self.running()
        batch = running[pick % len(running)]
        lost = [caller.number for caller in self.present() if caller.batch is batch]
        self.end(batch, lost=lost)

    def end(self, batch: Batch, lost: list[int]) -> None:
        wanting = any(caller.batch.phase is READY for caller in self.present(waiting=True))
        started = len(self.sent)
        left = self.queue.finish(batch, self.now)
        self.heard()

        assert left == lost
        assert batch.phase is ENDED
        assert self.queue.finish(batch, self.now) == []
        # Its place goes to exactly one of those that want one.
        assert len(self.sent) - started == int(wanting)
        for number in lost:
            self.callers[number].outcomes += 1
        self.queue.settle(batch, lost, failed=True)

    @precondition(lambda self: self.config.max_concurrency is not None)
    @rule()
    def three_groups_want_the_only_places(self) -> None:
        """Macro: fill every place, and let full batches of three groups queue for them."""
        for group in "xyzxyz":
            for _ in range(self.config.batch_size):
                self.join(group, 1.0, shortcut=True, waits=True)

    # -- what must always hold

    @invariant()
    def a_batch_holds_those_who_are_owed_an_outcome_in_the_order_in_which_they_came(self) -> None:
        for batch in {caller.batch for caller in self.callers if caller.batch}:
            owed = [caller.number for caller in self.present() if caller.batch is batch]
            assert list(batch.items) == owed
            assert len({caller.group for caller in self.callers if caller.batch is batch}) == 1

    @invariant()
    def no_batch_breaks_its_bounds(self) -> None:
        assert all(size <= self.config.batch_size for size in self.sizes)
        most = self.config.max_weight
        for batch in {caller.batch for caller in self.present(waiting=True)}:
            weight = self.weight_of(batch)
            assert batch.weight == pytest.approx(weight)
            assert most is None or weight <= most or len(batch.items) == 1

    @invariant()
    def batches_of_a_group_start_in_the_order_in_which_they_were_opened(self) -> None:
        first: dict[Batch, int] = {}
        for caller in self.callers:
            if caller.batch:
                first.setdefault(caller.batch, caller.number)
        for group in "xyz":
            opened = [first[batch] for batch in self.sent if batch.group == group]
            assert opened == sorted(opened)

    @invariant()
    def the_numbers_are_exact(self) -> None:
        counters = self.counters
        assert counters.requests == len(self.callers)
        assert counters.waiting_for_room == len(self.waiting_for_room())
        assert counters.waiting == len(self.present(waiting=True))
        assert counters.unsent == self.unsent
        assert counters.running == len(self.running()) == len(self.queue.running)
        assert (counters.batches, counters.items) == (len(self.sent), sum(self.sizes))
        assert counters.answered + counters.failed == sum(caller.outcomes for caller in self.callers)
        assert counters.left == sum(caller.gone for caller in self.callers)
        limit = self.config.max_concurrency
        assert limit is None or counters.running <= limit

    @invariant()
    def nobody_gets_two_outcomes_or_one_after_leaving(self) -> None:
        assert all(caller.outcomes + caller.gone <= 1 for caller in self.callers)

    @invariant()
    def nobody_waits_for_room_while_there_is_some(self) -> None:
        assert not self.waiting_for_room() or len(self.present(waiting=True)) >= self.config.max_queue_size

    @invariant()
    def nothing_waits_for_a_place_while_one_is_free(self) -> None:
        if any(caller.batch.phase is READY for caller in self.present(waiting=True)):
            assert len(self.running()) == self.config.max_concurrency

    def teardown(self) -> None:
        """Let everything run out: whoever stayed has exactly one outcome, and nothing is left behind."""
        if not hasattr(self, "queue"):
            return
        for _ in range(2 * len(self.callers) + 2):
            if not self.present():
                break
            if self.running():
                self.deal(0, failed=False, half=False)
            else:
                self.due(0)
        assert all(caller.outcomes + caller.gone == 1 for caller in self.callers)
        assert self.queue.is_empty()
        assert self.counters.waiting == self.counters.running == 0


TestBatchMachine = BatchMachine.TestCase
TestBatchMachine.settings = settings(stateful_step_count=40)


def test_a_group_with_many_batches_does_not_hold_up_the_others() -> None:
    queue = BatchQueue(BatchConfig(batch_size=1, max_concurrency=1), Counters())
    for number, group in enumerate("xxxxyz"):
        queue.add(group, number, number, 0.0)
    order = []
    while queue.running:
        (batch,) = queue.running
        order.append(batch.group)
        queue.settle(batch, list(batch.items))
        queue.finish(batch, 0.0)

    assert "".join(order) == "xxyzxx"


def test_a_task_that_ends_before_its_batch_could_leave_gives_up_what_waited() -> None:
    for limit in (None, 1):
        queue = BatchQueue(BatchConfig(batch_size=3, max_concurrency=limit), Counters())
        if limit is not None:
            for number in range(3):
                queue.add("running", number, number, 0.0)
        batch = queue.add("x", "item", "waiter", 0.0)
        assert batch is not None
        if limit is not None:
            queue.time_is_over(batch, 1.0)
        lost = queue.finish(batch, 1.0)
        queue.settle(batch, lost, failed=True)

        assert (lost, batch.phase) == (["waiter"], ENDED)
        assert (queue.counters.waiting, queue.counters.failed, queue.counters.unsent) == (0, 1, 1)
        assert queue.add("x", "next", "other", 2.0) is not batch
