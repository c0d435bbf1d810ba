"""What several files of this folder need."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from resilient_ai.usage import Usage


@dataclass
class TooFastError(Exception):
    """The provider's rate limit was met (429)."""

    retry_after: float | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status_code = 429

    def __post_init__(self):
        if self.retry_after is not None:
            self.headers = {**self.headers, "retry-after": f"{self.retry_after:g}"}


@dataclass
class Answer:
    """A result that tells its usage, as the SDKs' do, and headers where a raw response is asked for."""

    usage: Usage | None = None
    headers: dict[str, str] = field(default_factory=dict)


def used(tokens):
    """An answer that took so many tokens."""
    return Answer(Usage(input_tokens=tokens))


class Provider:
    """Answers after so many seconds, and remembers when each call came."""

    def __init__(self, clock, seconds=0.0):
        self.clock, self.seconds = clock, seconds
        self.calls = []  # what it was asked, and when
        self.errors = []  # raised, first to last, in place of answers

    async def __call__(self, asked=0):
        self.calls.append((asked, self.clock.now()))
        if self.errors:
            raise self.errors.pop(0)
        await self.clock.sleep(self.seconds)
        return asked

    @property
    def times(self):
        return [when for _, when in self.calls]


async def at_once(ask, asked, clock):
    """So many calls, begun in order at the same moment; what became of each."""
    outcomes = {}

    async def one(number, what):
        try:
            outcomes[number] = await ask(what)
        except Exception as error:
            outcomes[number] = error

    async with anyio.create_task_group() as tasks:
        for number, what in enumerate(asked):
            tasks.start_soon(one, number, what)
            await anyio.wait_all_tasks_blocked()
        async with clock.autojump():
            while len(outcomes) < len(asked):
                await clock.sleep(0.5)
    return [outcomes[number] for number in range(len(asked))]
