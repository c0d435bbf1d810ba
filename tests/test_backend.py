"""A cancelled caller hears of that and not of the circuit, whichever event loop runs, or runs inside another."""

import asyncio  # noqa: TID251 - the host of a guest loop
import gc
import weakref

import anyio
import pytest
import trio

from resilient_ai import CircuitOpenError, Registry, circuit_breaker


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


def test_nobody_keeps_a_loop_that_has_ended():
    ask = refusing()

    async def main():
        with pytest.raises(CircuitOpenError):
            await ask()
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(main())
    gc.collect()

    assert loop() is None
