"""The decorator under concurrent tasks, cancellation and virtual time, by scripts that hypothesis writes."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import CircuitOpenError, CircuitState, Registry, circuit_breaker
from resilient_ai.testing import VirtualClock

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.just(0)),
        st.tuples(st.sampled_from(["ok", "fail", "cancel", "mistake"]), st.integers(0, 5)),
        st.tuples(st.just("advance"), st.sampled_from([0.5, 5.0, 10.0, 29.0, 31.0])),
        st.tuples(st.just("operate"), st.sampled_from(["trip", "force_open", "force_closed", "disable", "reset"])),
        st.tuples(st.just("outage"), st.just(0)),
    ),
    max_size=30,
)


class MistakeError(Exception):
    """Something that `ignore` names."""


class Scene:
    """Tasks that call one decorated function and end as the script says."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.registry = Registry(clock=self.clock, listeners=())
        self.running: list[tuple[anyio.Event, list[str], anyio.CancelScope, CircuitState]] = []
        self.probes_seen = 0

        @circuit_breaker(
            "scene",
            failure_threshold=2,
            recovery_timeout=10,
            success_threshold=2,
            timeout_seconds=30,
            ignore=MistakeError,
            registry=self.registry,
        )
        async def call(gate: anyio.Event, fate: list[str]) -> str:
            self.running_states.append(self.breaker.state)
            await gate.wait()
            if fate[0] == "fail":
                raise OSError("down")
            if fate[0] == "mistake":
                raise MistakeError
            return "pong"

        self.call = call
        self.running_states: list[CircuitState] = []
        self.breaker = self.registry.circuit_breakers["scene"]

    async def task(self, gate: anyio.Event, fate: list[str], scope: anyio.CancelScope) -> None:
        with scope:
            try:
                await self.call(gate, fate)
            except (OSError, MistakeError, CircuitOpenError):
                fate.append("raised")
        fate.append("done")

    async def act(self, tasks: anyio.abc.TaskGroup, action: str, value: object) -> None:
        if action == "start":
            gate, fate, scope = anyio.Event(), ["ok"], anyio.CancelScope()
            tasks.start_soon(self.task, gate, fate, scope)
            await anyio.wait_all_tasks_blocked()
            if "done" not in fate:
                self.running.append((gate, fate, scope, self.breaker.state))
        elif action == "outage":
            for _ in range(2):
                await self.act(tasks, "start", 0)
                if self.running:
                    await self.act(tasks, "fail", len(self.running) - 1)
        elif action == "advance":
            self.clock.advance(float(value))  # type: ignore[arg-type]
            await anyio.wait_all_tasks_blocked()
            self.running = [each for each in self.running if "done" not in each[1]]
        elif action == "operate":
            if value != "trip" or self.breaker.state not in (CircuitState.DISABLED, CircuitState.FORCED_OPEN):
                getattr(self.breaker, str(value))()
        elif self.running:
            gate, fate, scope, _ = self.running.pop(int(value) % len(self.running))  # type: ignore[call-overload]
            fate[0] = action
            if action == "cancel":
                scope.cancel()
            else:
                gate.set()
            await anyio.wait_all_tasks_blocked()
            assert "done" in fate


@given(script=ACTIONS)
async def test_no_script_of_concurrent_calls_wedges_the_circuit_or_lets_too_many_through(script) -> None:
    scene = Scene()
    async with anyio.create_task_group() as tasks:
        for action, value in script:
            before = len(scene.running_states)
            state = scene.breaker.state
            await scene.act(tasks, action, value)
            admitted = len(scene.running_states) - before

            if action == "start" and state is CircuitState.FORCED_OPEN:
                assert admitted == 0
            if action == "start" and scene.breaker.state is CircuitState.OPEN:
                assert admitted == 0
            stats = scene.breaker.stats()
            assert stats.probes_in_flight <= 2
            assert stats.total_failures + stats.neutral <= stats.total_calls
        while scene.running:
            await scene.act(tasks, "cancel", 0)

    # Whatever happened: nobody is left holding a slot, and good answers close it.
    assert scene.breaker.stats().probes_in_flight == 0
    if scene.breaker.state in (CircuitState.FORCED_OPEN, CircuitState.DISABLED):
        scene.breaker.force_closed()
    scene.clock.advance(10)
    gate = anyio.Event()
    gate.set()
    for _ in range(2):
        assert await scene.call(gate, ["ok"]) == "pong"
    assert scene.breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("when", ["closed", "half_open"])
async def test_cancellation_in_flight_is_neutral_and_returns_the_slot(when) -> None:
    scene = Scene()
    if when == "half_open":
        scene.breaker.trip()
        scene.clock.advance(10)
    async with anyio.create_task_group() as tasks:
        await scene.act(tasks, "start", 0)
        await scene.act(tasks, "cancel", 0)
    stats = scene.breaker.stats()

    assert stats.probes_in_flight == 0
    assert (stats.total_failures, stats.current_failure_count, stats.neutral) == (0, 0, 1)


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
