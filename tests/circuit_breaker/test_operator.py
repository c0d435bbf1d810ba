"""What an operator can do by hand."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import CircuitOpenError, CircuitState, circuit_breaker
from resilient_ai.events import CircuitClosed, CircuitModeSet, CircuitOpened
from tests.circuit_breaker.support import fail
from tests.helpers import scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


async def test_forced_open_refuses_until_reset(registry, clock):
    ask = circuit_breaker("ops", registry=registry)(scripted("pong"))
    breaker = registry.circuit_breakers["ops"]
    breaker.force_open()
    clock.advance(1e6)
    with pytest.raises(CircuitOpenError, match="forced open by an operator") as caught:
        await ask()
    assert (caught.value.reason, caught.value.retry_after) == ("forced_open", None)
    breaker.reset()

    assert await ask() == "pong"


async def test_a_probe_in_flight_when_forced_open_changes_nothing(registry, clock):
    gate = anyio.Event()

    @circuit_breaker("ops", success_threshold=1, registry=registry)
    async def ask() -> None:
        await gate.wait()

    breaker = registry.circuit_breakers["ops"]
    breaker.trip()
    clock.advance(60)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        breaker.force_open()
        gate.set()

    assert breaker.state is CircuitState.FORCED_OPEN
    assert breaker.stats().late == 1


async def test_disabled_records_nothing_and_metrics_only_never_opens(registry):
    ask = circuit_breaker("ops", failure_threshold=1, registry=registry)(scripted(OSError()))
    breaker = registry.circuit_breakers["ops"]
    breaker.disable()
    await fail(ask, 3)
    assert breaker.stats().total_calls == 0
    breaker.metrics_only()
    await fail(ask, 3)

    assert breaker.state is CircuitState.METRICS_ONLY
    assert breaker.stats().total_failures == 3


async def test_a_listener_may_read_drive_and_fail_without_harm(registry):
    ask = circuit_breaker("heard", failure_threshold=1, registry=registry)(scripted(OSError(), "pong"))
    breaker = registry.circuit_breakers["heard"]
    heard = []
    breaker.on_transition(lambda event: 1 / 0)
    stop = breaker.on_transition(lambda event: (heard.append((event, breaker.stats())), breaker.force_closed()))
    await fail(ask, 1)

    assert [type(event) for event, _ in heard] == [CircuitOpened, CircuitClosed]
    assert await ask() == "pong"
    stop()
    breaker.force_open()
    assert len(heard) == 2


async def test_mode_changes_are_told(registry, events):
    circuit_breaker("ops", registry=registry)(scripted("pong"))
    breaker = registry.circuit_breakers["ops"]
    breaker.force_open()
    breaker.force_open()
    breaker.reset()

    assert events == [CircuitModeSet("ops", "forced_open"), CircuitModeSet("ops", "reset")]
