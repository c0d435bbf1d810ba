"""What several files of this folder need."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import pytest


class BusyError(Exception):
    """The provider has too many calls (529)."""

    status_code = 529


@dataclass
class TooFastError(Exception):
    """The provider's rate limit was met (429)."""

    retry_after: float | None = None
    status_code = 429

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}


class Provider:
    """Answers after so many seconds, and remembers when each call came and how many were under way."""

    def __init__(self, clock, seconds=1.0):
        self.clock, self.seconds = clock, seconds
        self.calls, self.under_way, self.most = [], 0, 0
        self.errors = []  # raised, first to last, in place of answers

    async def __call__(self, number=0):
        self.calls.append((number, self.clock.now()))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self.errors:
                raise self.errors.pop(0)
            await self.clock.sleep(self.seconds)
            return number
        finally:
            self.under_way -= 1


async def at_once(ask, count, clock):
    """So many calls, begun in order at the same moment; what became of each."""
    outcomes = {}

    async def one(number):
        try:
            outcomes[number] = await ask(number)
        except Exception as error:
            outcomes[number] = error

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(one, number)
            await anyio.wait_all_tasks_blocked()
        async with clock.autojump():
            while len(outcomes) < count:
                await clock.sleep(0.5)
    return [outcomes[number] for number in range(count)]


async def fail(ask, error):
    with pytest.raises(error):
        await ask()


class Gate:
    """Every call waits until it opens, and then fails so or answers."""

    def __init__(self, error=None):
        self.opens, self.error = anyio.Event(), error

    async def __call__(self):
        await self.opens.wait()
        if self.error is not None:
            raise self.error
        return "answer"
