"""A cancelled caller hears of that and not of the circuit, whichever event loop runs, or runs inside another."""

import asyncio  # noqa: TID251 - the host of a guest loop
import gc
import time
import weakref

import anyio
import pytest
import trio

from resilient_ai import (
    AIServiceError,
    CircuitOpenError,
    Endpoint,
    ErrorType,
    Registry,
    RetryRule,
    circuit_breaker,
    classified_retry,
    failover,
)


def refusing():
    registry = Registry(listeners=())

    @circuit_breaker("open", registry=registry)
    async def ask() -> str:
        return "pong"

    registry.circuit_breakers["open"].force_open()
    return ask


async def cancelled_while_refused():
    ask = refusing()
    with pytest.raises(CircuitOpenError):
        await ask()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await ask()
    return scope.cancelled_caught


async def test_a_caller_in_a_cancelled_scope_hears_of_that():
    assert await cancelled_while_refused()


def test_it_does_in_trio_as_the_guest_of_an_asyncio_loop():
    async def host():
        assert await cancelled_while_refused()  # asyncio's own task first
        ended = asyncio.get_running_loop().create_future()
        trio.lowlevel.start_guest_run(
            cancelled_while_refused,
            run_sync_soon_threadsafe=asyncio.get_running_loop().call_soon_threadsafe,
            done_callback=ended.set_result,
        )
        return (await ended).unwrap()

    assert asyncio.run(host())


@pytest.mark.parametrize("first", ["asyncio", "trio"])
def test_all_policies_work_in_trio_that_a_task_of_asyncio_runs(first):
    registry = Registry(listeners=())

    @classified_retry(rules={ErrorType.TIMEOUT: RetryRule(1, 0.01, 0.01)}, registry=registry)
    @failover(Endpoint("only"), registry=registry)
    @circuit_breaker(timeout_seconds=0.05, registry=registry)
    async def ask(endpoint, seconds):
        await anyio.sleep(seconds)
        return endpoint.name

    async def guest():
        assert await ask(0) == "only"
        with pytest.raises(AIServiceError):
            await ask(10)
        assert await cancelled_while_refused()

    async def host():
        if first == "asyncio":
            assert await ask(0) == "only"
            assert await cancelled_while_refused()
        trio.run(guest)
        with pytest.raises(AIServiceError):
            await ask(10)
        assert await cancelled_while_refused()

    began = time.monotonic()  # a timeout that does not ring shows in real time only
    asyncio.run(host())
    assert time.monotonic() - began < 5


def test_nobody_keeps_a_loop_that_has_ended():
    ask = refusing()

    async def main():
        with pytest.raises(CircuitOpenError):
            await ask()
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(main())
    gc.collect()

    assert loop() is None
