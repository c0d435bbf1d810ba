"""
The decorator under concurrent tasks, cancellation and virtual time, by scripts that hypothesis writes.

Beside it runs the same model as beside the bare circuit. The model decides who is let through and what is counted;
here it is seen that tasks, scopes, timeouts and streams tell the circuit the truth.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - what asyncio itself does to a task is told apart here
import math
from contextlib import suppress
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import CircuitOpenError, CircuitState, Registry, circuit_breaker
from resilient_ai._circuit_breaker.config import CircuitConfig
from resilient_ai.events import (
    CallRejected,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitModeSet,
    CircuitOpened,
    CircuitWouldOpen,
)
from resilient_ai.testing import VirtualClock
from tests.circuit_breaker.machine.circuit_model import (
    CLOSED,
    DISABLED,
    FORCED_OPEN,
    HALF_OPEN,
    METRICS_ONLY,
    OPEN,
    Call,
    Model,
)

FATES = ["ok", "fail", "mistake", "cancel", "exit"]
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(1, 5)),
        st.tuples(st.sampled_from(FATES), st.integers(0, 9)),
        st.tuples(st.just("advance"), st.sampled_from([0.5, 5.0, 9.5, 10.0, 19.0, 31.0])),
        st.tuples(
            st.just("operate"),
            st.sampled_from(["trip", "force_open", "force_closed", "disable", "metrics_only", "reset"]),
        ),
        st.tuples(st.just("outage"), st.booleans()),
        st.tuples(st.just("cancel all"), st.just(0)),
        st.tuples(st.just("too late"), st.just(0)),
    ),
    min_size=3,
    max_size=40,
)
SETTINGS = st.fixed_dictionaries(
    {
        "failure_threshold": st.integers(1, 3),
        "recovery_timeout": st.sampled_from([5.0, 10.0]),
        "success_threshold": st.integers(1, 3),
        "half_open_max_calls": st.sampled_from([None, 1, 2]),
        "timeout_seconds": st.sampled_from([None, 19.5]),
        "max_recovery_timeout": st.sampled_from([None, 15.0]),
        "slow_call_seconds": st.sampled_from([None, 4.0]),
        "minimum_calls": st.integers(1, 4),
        "window_calls": st.sampled_from([None, 3]),
    }
)


async def settled() -> None:
    """Every task waits. On asyncio a look costs 0.1 s while one does not, so some turns of the loop come first."""
    for _ in range(12):
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


class MistakeError(Exception):
    """Something that `ignore` names."""


class InFlight:
    """A task that called, as the script and the model see it."""

    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.scope = anyio.CancelScope()
        self.fate = "ok"
        self.entered = self.refused = self.done = False
        self.call: Call | None = None
        self.started = self.due = 0.0


class Scene:
    """Tasks that call one decorated function, and end as the script says."""

    def __init__(self, settings: dict[str, Any], *, streaming: bool) -> None:
        self.clock = VirtualClock(100.0)
        self.events: list[Any] = []
        self.registry = Registry(clock=self.clock, listeners=[self.events.append])
        self.model = Model(CircuitConfig(**settings))
        self.expected: list[CircuitState | str] = []  # what was announced, in order
        self.timeout = settings["timeout_seconds"] or math.inf
        self.running: list[InFlight] = []

        @circuit_breaker("scene", ignore=MistakeError, registry=self.registry, **settings)
        async def call(task: InFlight) -> str:
            await self.work(task)
            return "pong"

        @circuit_breaker("scene", ignore=MistakeError, registry=self.registry, **settings)
        async def stream(task: InFlight) -> Any:
            await self.work(task)
            yield "pong"

        async def drain(task: InFlight) -> str:
            return "".join([item async for item in stream(task)])

        self.ask = drain if streaming else call
        self.breaker = self.registry.circuit_breakers["scene"]

    async def work(self, task: InFlight) -> None:
        task.entered = True
        await task.gate.wait()
        await anyio.lowlevel.checkpoint()
        if task.fate != "ok":
            raise {"fail": OSError("down"), "mistake": MistakeError(), "exit": KeyboardInterrupt()}[task.fate]

    async def task(self, task: InFlight) -> None:
        with task.scope:
            try:
                assert await self.ask(task) == "pong"
            except CircuitOpenError:
                task.refused = True
            except (OSError, MistakeError, KeyboardInterrupt):  # a CallTimeoutError is an OSError
                pass
        task.done = True

    # -- what the script can do

    def announce(self, change: CircuitState | str | None) -> None:
        if change is not None:
            self.expected.append(change)

    async def start(self, tasks: anyio.abc.TaskGroup, count: int) -> None:
        """So many callers at the same moment; which of them are let through is nobody's promise, how many is."""
        now = self.clock.now()
        started = [InFlight() for _ in range(count)]
        for each in started:
            tasks.start_soon(self.task, each)
        await settled()
        calls = []
        for _ in range(count):
            call, change = self.model.ask(now)
            self.announce(change)
            if call is None:
                self.expected.append("rejected")
            else:
                calls.append(call)
        admitted = [each for each in started if each.entered]

        assert len(admitted) == len(calls)
        assert all(each.done and each.refused for each in started if not each.entered)
        for each, call in zip(admitted, calls, strict=True):
            each.call, each.started, each.due = call, now, now + self.timeout
        self.running += admitted

    async def end(self, fate: str, which: int) -> None:
        if not self.running:
            return
        task = self.running.pop(which % len(self.running))
        task.fate = fate
        if fate == "cancel":
            task.scope.cancel()
        else:
            task.gate.set()
        await settled()

        assert task.done
        self.ended(task, fate if fate in ("ok", "fail") else "neutral")

    def ended(self, task: InFlight, outcome: str) -> None:
        assert task.call is not None
        now = self.clock.now()
        self.announce(self.model.end(task.call, outcome, now, now - task.started))

    async def advance(self, seconds: float) -> None:
        """Timeouts that fall due on the way are told one after the other, as they would be."""
        end = self.clock.now() + seconds
        while (due := min((each.due for each in self.running), default=math.inf)) <= end:
            self.clock.advance(due - self.clock.now())
            await settled()
            for each in [each for each in self.running if each.due == due]:
                assert each.done
                self.running.remove(each)
                self.ended(each, "fail")
        self.clock.advance(end - self.clock.now())
        await settled()

    def operate(self, what: str) -> None:
        forced = {"force_open": FORCED_OPEN, "force_closed": CLOSED, "disable": DISABLED, "metrics_only": METRICS_ONLY}
        if what == "trip":
            if self.model.may_trip():
                self.announce(self.model.trip(self.clock.now()))
                self.breaker.trip()
            else:
                with pytest.raises(ValueError, match="cannot be tripped"):
                    self.breaker.trip()
        elif what == "reset":
            self.model.reset()
            self.expected.append("reset")
            self.breaker.reset()
        else:
            change = self.model.force(forced[what])
            self.announce(change if change is CLOSED or change is None else str(change))
            getattr(self.breaker, what)()

    async def outage(self, tasks: anyio.abc.TaskGroup, probing: bool) -> None:
        """Stragglers from before it are still running when it is over."""
        for _ in range(10):
            if self.model.state is not CLOSED:
                break
            await self.start(tasks, 1)
            await self.end("fail", len(self.running) - 1)
        if self.model.state is OPEN and probing:
            await self.advance(max(0.0, self.model.until - self.clock.now()))
            await self.start(tasks, 4)

    async def cancelled_before(self) -> None:
        """A caller whose scope is over already: cancellation is what it hears, whatever the circuit thinks."""
        refusing = self.breaker.state in (OPEN, HALF_OPEN, FORCED_OPEN)
        task = InFlight()
        task.scope.cancel()
        await self.task(task)

        assert task.done
        assert not task.refused
        if refusing:
            assert not task.entered
        else:
            call, change = self.model.ask(self.clock.now())
            assert (call is not None, change) == (True, None)
            task.call, task.started = call, self.clock.now()
            self.ended(task, "neutral")

    async def act(self, tasks: anyio.abc.TaskGroup, action: str, value: Any) -> None:
        if action == "start":
            await self.start(tasks, value)
        elif action == "advance":
            await self.advance(value)
        elif action == "operate":
            self.operate(value)
        elif action == "outage":
            await self.outage(tasks, value)
        elif action == "too late":
            await self.cancelled_before()
        elif action == "cancel all":
            while self.running:
                await self.end("cancel", 0)
        else:
            await self.end(action, value)

    # -- what must hold after every step

    def announced(self) -> list[CircuitState | str]:
        kinds = {
            CircuitOpened: OPEN,
            CircuitHalfOpened: HALF_OPEN,
            CircuitClosed: CLOSED,
            CircuitWouldOpen: METRICS_ONLY,
            CallRejected: "rejected",
        }
        return [event.state if type(event) is CircuitModeSet else kinds[type(event)] for event in self.events]

    def check(self) -> None:
        stats, model, now = self.breaker.stats(), self.model, self.clock.now()
        failed = sum(not good for _, good, _ in model.all)

        assert stats.state is model.state
        assert (stats.late, stats.rejected, stats.opened_count) == (model.late, model.rejected, model.opened)
        assert (stats.total_failures, stats.neutral, stats.slow) == (failed, model.neutral, model.slow)
        assert stats.total_calls == len(model.all) + model.neutral
        assert stats.probes_in_flight == len(model.probes)
        assert sum(probe.lease_end > now for probe in model.probes) <= model.config.probes_at_once
        assert sorted(map(str, self.announced())) == sorted(map(str, self.expected))
        told = [each for each in self.announced() if each != "rejected"]
        assert told == [each for each in self.expected if each != "rejected"]
        if stats.state is OPEN:
            assert stats.retry_after == pytest.approx(model.retry_after(now), abs=2e-6)
        if stats.state in (CLOSED, METRICS_ONLY):
            assert stats.current_failure_count == model.level()
            assert stats.window_calls == len(model.window(now))


async def play(script: list[tuple[str, Any]], settings: dict[str, Any], *, streaming: bool) -> None:
    scene = Scene(settings, streaming=streaming)
    async with anyio.create_task_group() as tasks:
        for action, value in script:
            await scene.act(tasks, action, value)
            scene.check()
        await scene.act(tasks, "cancel all", 0)
        scene.check()

        # Whatever happened: nobody is left holding a slot, and good answers close it.
        assert scene.breaker.stats().probes_in_flight == 0
        if scene.breaker.state in (FORCED_OPEN, DISABLED, METRICS_ONLY):
            scene.operate("force_closed")
        await scene.advance(15)
        for _ in range(settings["success_threshold"] + 1):
            await scene.start(tasks, 1)
            await scene.end("ok", 0)
            scene.check()
    assert scene.breaker.state is CLOSED


@given(script=ACTIONS, settings=SETTINGS)
async def test_concurrent_calls_are_let_through_counted_and_told_as_the_model_says(script, settings) -> None:
    await play(script, settings, streaming=False)


@given(script=ACTIONS, settings=SETTINGS)
async def test_concurrent_streams_are_let_through_counted_and_told_as_the_model_says(script, settings) -> None:
    await play(script, {**settings, "idle_timeout_seconds": None}, streaming=True)


@pytest.mark.parametrize("when", ["closed", "half_open"])
@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_an_exit_is_neutral_and_returns_the_slot(when, leaving, registry, clock) -> None:
    @circuit_breaker("exit", registry=registry)
    async def leave() -> None:
        raise leaving

    breaker = registry.circuit_breakers["exit"]
    if when == "half_open":
        breaker.trip()
        clock.advance(60)
    with pytest.raises(leaving):
        await leave()
    stats = breaker.stats()

    assert stats.probes_in_flight == 0
    assert (stats.total_failures, stats.current_failure_count, stats.neutral) == (0, 0, 1)


async def test_a_coroutine_that_is_closed_unfinished_returns_the_slot(registry, clock) -> None:
    """What happens to a call that its event loop forgets: GeneratorExit at the await it stands at."""

    class Never:
        def __await__(self):
            yield

    @circuit_breaker("forgotten", timeout_seconds=None, registry=registry)
    async def ask() -> None:
        await Never()

    breaker = registry.circuit_breakers["forgotten"]
    breaker.trip()
    clock.advance(60)
    call = ask()
    call.send(None)
    assert breaker.stats().probes_in_flight == 1
    call.close()

    assert (breaker.stats().probes_in_flight, breaker.stats().neutral) == (0, 1)


async def test_a_timeout_and_a_cancellation_at_the_same_moment_are_one_outcome(registry, clock) -> None:
    @circuit_breaker("both", failure_threshold=9, timeout_seconds=5, registry=registry)
    async def ask() -> None:
        await clock.sleep(60)

    async with clock.autojump():
        with clock.move_on_after(5), suppress(TimeoutError):
            await ask()
    stats = registry.circuit_breakers["both"].stats()

    assert stats.total_calls == stats.total_failures + stats.neutral == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("when", ["closed", "half_open"])
@pytest.mark.parametrize("timeout", [None, 30])
async def test_a_task_that_asyncio_itself_cancels_is_neutral_and_stays_cancelled(
    when, timeout, registry, clock
) -> None:
    @circuit_breaker("native", timeout_seconds=timeout, registry=registry)
    async def ask() -> None:
        await anyio.sleep_forever()

    breaker = registry.circuit_breakers["native"]
    if when == "half_open":
        breaker.trip()
        clock.advance(60)
    task = asyncio.ensure_future(ask())
    await settled()
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError):
        await task
    stats = breaker.stats()

    assert (stats.probes_in_flight, stats.total_failures, stats.neutral) == (0, 0, 1)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_deadline_of_asyncio_itself_is_the_callers_and_not_a_failure() -> None:
    @circuit_breaker("native", failure_threshold=1, registry=Registry(listeners=()))
    async def ask() -> None:
        await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ask()
    with pytest.raises(TimeoutError):  # a circuit that had opened would say so
        async with asyncio.timeout(0.01):
            await ask()
