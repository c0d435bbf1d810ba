"""Which calls share a circuit: names and keys."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from resilient_ai import CircuitOpenError, CircuitState, Endpoint, circuit_breaker, failover
from tests.circuit_breaker.support import fail
from tests.helpers import scripted, trio_in_ci

pytestmark = pytest.mark.usefixtures("provider_errors")


async def test_one_name_is_one_circuit(registry):
    down = circuit_breaker("shared", failure_threshold=1, registry=registry)(scripted(OSError()))
    other = circuit_breaker("shared", failure_threshold=1, registry=registry)(scripted("pong"))
    await fail(down, 1)

    with pytest.raises(CircuitOpenError):
        await other()


def test_one_name_with_two_settings_is_an_error_that_shows_both(registry):
    circuit_breaker("shared", failure_threshold=1, registry=registry)(scripted("pong"))
    with pytest.raises(ValueError, match=r"'shared' already exists.*failure_threshold 1 there, 2 here"):
        circuit_breaker("shared", failure_threshold=2, registry=registry)(scripted("pong"))


async def test_a_key_has_a_circuit_of_its_own(registry):
    @circuit_breaker("tenants", failure_threshold=1, key=lambda tenant: tenant, registry=registry)
    async def ask(tenant: str) -> str:
        if tenant == "a":
            raise OSError
        return "pong"

    with pytest.raises(OSError):
        await ask("a")
    with pytest.raises(CircuitOpenError, match=r"tenants\[a\]"):
        await ask("a")

    assert await ask("b") == "pong"


async def test_idle_keys_go_and_open_ones_stay(registry, clock):
    @circuit_breaker("tenants", failure_threshold=1, key=lambda tenant: tenant, registry=registry)
    async def ask(tenant: str) -> None:
        if tenant == "bad":
            raise OSError

    with pytest.raises(OSError):
        await ask("bad")
    for each in range(50):
        await ask(str(each))
    clock.advance(600)
    await ask("7")
    clock.advance(600)
    await ask("new")

    assert sorted(registry.circuit_breakers) == ["tenants[7]", "tenants[bad]", "tenants[new]"]


async def test_under_a_failover_each_endpoint_has_a_circuit_without_being_told(registry):
    @failover(Endpoint("us"), Endpoint("eu"), strategy="priority", registry=registry)
    @circuit_breaker("ask", failure_threshold=1, registry=registry)
    async def ask(endpoint: Endpoint) -> str:
        if endpoint.name == "us":
            raise OSError
        return endpoint.name

    assert await ask() == "eu"
    assert {name: handle.state.value for name, handle in registry.circuit_breakers.items()} == {
        "ask[us]": "open",
        "ask[eu]": "closed",
    }


async def test_a_call_in_flight_keeps_its_key(registry, clock):
    gate = anyio.Event()

    @circuit_breaker("tenants", failure_threshold=1, timeout_seconds=None, key=lambda tenant: tenant, registry=registry)
    async def ask(tenant: str) -> None:
        if tenant == "long" and clock.now():
            await gate.wait()
            raise OSError

    await ask("long")
    await ask("other")
    clock.advance(890)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fail, lambda: ask("long"), 1)
        await anyio.wait_all_tasks_blocked()
        clock.advance(890)
        await ask("new")
        gate.set()

    assert sorted(registry.circuit_breakers) == ["tenants[long]", "tenants[new]"]
    assert registry.circuit_breakers["tenants[long]"].state is CircuitState.OPEN


async def test_the_key_of_a_method_is_asked_with_its_instance(registry):
    class Client:
        def __init__(self, tenant: str) -> None:
            self.tenant = tenant

        @circuit_breaker("clients", key=lambda self, prompt: f"{self.tenant}/{prompt}", registry=registry)
        async def ask(self, prompt: str) -> str:
            return prompt

    assert await Client("a").ask("x") == await Client("b").ask("x") == "x"
    assert sorted(registry.circuit_breakers) == ["clients[a/x]", "clients[b/x]"]


@trio_in_ci
async def test_open_keys_that_nobody_comes_to_probe_go_when_there_is_no_room_and_others_stay(registry, clock):
    settings = {"failure_threshold": 1, "recovery_timeout": 1_000, "timeout_seconds": None}

    @circuit_breaker("keys", key=lambda key: key, registry=registry, **settings)
    async def ask(key: int) -> None:
        raise OSError

    async def use(keys: range) -> None:
        for key in keys:
            await fail(lambda: ask(key), 1)  # noqa: B023 - called at once

    await use(range(10_500))
    operated = list(registry.circuit_breakers)[:3]  # whichever of equally old ones have gone
    for name, operate in zip(operated, ["force_open", "disable", "metrics_only"], strict=True):
        getattr(registry.circuit_breakers[name], operate)()
    clock.advance(950)
    await use(range(10_500, 11_600))
    assert len(registry.circuit_breakers) <= 10_000  # though all are open now
    clock.advance(50 + 900)
    await use(range(11_600, 12_700))
    names = set(registry.circuit_breakers)

    assert len(names) <= 3 + 2_200
    assert {*operated} <= names  # what an operator set stays in any case
    assert {f"keys[{key}]" for key in range(11_600, 12_700)} <= names  # used last


async def test_a_key_that_cannot_be_told_is_an_error_of_the_call(registry):
    @circuit_breaker("tenants", key=lambda tenant: tenant["id"], registry=registry)
    async def ask(tenant: dict) -> None: ...

    call = ask({})
    with pytest.raises(KeyError):
        await call

    assert len(registry.circuit_breakers) == 0


async def test_keys_cannot_fill_the_memory(registry):
    @circuit_breaker("keys", key=lambda key: key, timeout_seconds=None, registry=registry)
    async def ask(key: int) -> None: ...

    for key in range(10_500):
        await ask(key)

    assert len(registry.circuit_breakers) <= 10_000


async def test_a_key_stays_while_a_call_of_it_is_in_flight_however_long(registry, clock):
    @circuit_breaker("tenants", key=lambda tenant: tenant, timeout_seconds=None, registry=registry)
    async def ask(tenant: str) -> None:
        if tenant == "slow":
            await clock.sleep(2_000)
            raise OSError

    async def fails() -> None:
        with pytest.raises(OSError):
            await ask("slow")

    async with clock.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(fails)
        await clock.sleep(1_500)
        await ask("new")
        assert "tenants[slow]" in registry.circuit_breakers

    assert registry.circuit_breakers["tenants[slow]"].stats().failed == 1
    clock.advance(1_000)
    await ask("newer")
    assert "tenants[slow]" not in registry.circuit_breakers


@pytest.mark.parametrize("end", ["read", "left", "broken"])
async def test_a_key_stays_while_a_stream_of_it_lasts_and_goes_afterwards(registry, clock, end):
    settings = {"timeout_seconds": None, "idle_timeout_seconds": None}

    @circuit_breaker("tenants", key=lambda tenant: tenant, registry=registry, **settings)
    async def stream(tenant: str):
        yield tenant
        yield tenant
        if end == "broken":
            raise OSError

    async def ask(tenant: str) -> None:
        async for _ in stream(tenant):
            pass

    slow = stream("slow")
    await anext(slow)
    clock.advance(1_500)
    with suppress(OSError):
        await ask("new")
    assert "tenants[slow]" in registry.circuit_breakers

    with suppress(OSError):
        if end != "left":
            async for _ in slow:
                pass
    await slow.aclose()
    clock.advance(1_000)
    with suppress(OSError):
        await ask("newer")

    assert "tenants[slow]" not in registry.circuit_breakers
