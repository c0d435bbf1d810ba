"""Streams open in one thread while calls begin in another."""

from __future__ import annotations

import asyncio  # noqa: TID251 - tasks of the test's own, which are looked up by their hash
import threading

from resilient_ai import Registry, circuit_breaker

SECONDS = 1000.0


class Task(asyncio.Task):
    """Does something when it is looked up for the n-th time, by its hash."""

    lookups = 0
    then = None

    def __hash__(self):
        if self.lookups:
            self.lookups -= 1
            if not self.lookups:
                self.then()
        return super().__hash__()


def in_a_thread(fn, *args):
    thread = threading.Thread(target=fn, args=args)
    thread.start()
    thread.join()


def test_a_stream_opens_while_the_call_of_another_thread_begins():
    registry = Registry(listeners=())
    bounded = circuit_breaker(timeout_seconds=SECONDS, idle_timeout_seconds=SECONDS, registry=registry)
    calls = []

    @bounded
    async def tokens():
        yield "item"

    async def answer():
        return "answer"

    def call():
        calls.append(circuit_breaker(timeout_seconds=SECONDS, registry=registry)(answer))  # it has a queue of its own
        assert asyncio.run(calls[-1]()) == "answer"

    async def read(lookups):
        task = asyncio.current_task()
        task.lookups, task.then = lookups, lambda: in_a_thread(call)
        items = [item async for item in tokens()]
        task.lookups = 0
        return items

    async def main():
        loop, lookups = asyncio.get_running_loop(), 0
        while len(calls) == lookups:
            lookups += 1

            assert await Task(read(lookups), loop=loop) == ["item"]

    asyncio.run(main())

    assert len(calls) > 2
