"""What a call leaves behind: nothing that waits for the cycle collector, and nobody's request."""

from __future__ import annotations

import gc
import weakref
from contextlib import aclosing, suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from resilient_ai import (
    Endpoint,
    ErrorType,
    LastAnswer,
    RetryRule,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
    rate_limit,
    spend_limit,
)
from tests.helpers import ProviderError

pytestmark = pytest.mark.usefixtures("provider_errors")

TIMES = 20


class BugError(LookupError):
    """Of a program; Python's own ones cannot be let go of by whoever has to remember them, as a circuit does."""


class Request:
    """A prompt that can be watched."""


class Provider:
    """Fails as told, whoever asks."""

    def __init__(self, clock, error):
        self.clock, self.error = clock, error

    async def answer(self, *arguments):
        await checkpoint()
        kind, *more = self.error
        if kind == "hangs":
            await self.clock.sleep(1_000)
        if kind == "one by one":
            return [BugError() for _ in arguments[-1]]
        if kind == "answers":
            return "an answer"
        raise kind(*more)

    async def stream(self, *arguments):
        yield "a piece"
        await self.answer(*arguments)


ERRORS = {
    "overloaded": (ProviderError, ErrorType.MODEL_OVERLOADED),
    "rate limit": (ProviderError, ErrorType.RATE_LIMIT, 1.0),
    "out of quota": (ProviderError, ErrorType.QUOTA_EXCEEDED),
    "bad request": (ProviderError, ErrorType.INVALID_REQUEST),
    "too long": (ProviderError, ErrorType.CONTEXT_LENGTH),
    "a bug": (BugError, "no such thing"),
    "hangs": ("hangs",),
}
A, B = Endpoint("a"), Endpoint("b")
CIRCUIT = circuit_breaker, {"timeout_seconds": 5}
EAGER = {each: RetryRule(1, 0, 9) for each in ErrorType}
STACKS = {
    "circuit_breaker": [CIRCUIT],
    "keyed": [(circuit_breaker, {"timeout_seconds": 5, "key": lambda _request: "k"})],
    "adaptive_limit": [(adaptive_limit, {"max_wait": 1}), CIRCUIT],
    "rate_limit": [(rate_limit, {"requests_per_minute": 600, "tokens_per_minute": 60_000, "max_wait": 1}), CIRCUIT],
    "spend_limit": [(spend_limit, {"usd_per_hour": 1}), CIRCUIT],
    "classified_retry": [(classified_retry, {}), CIRCUIT],
    "reraise": [(classified_retry, {"reraise": True, "rules": EAGER}), CIRCUIT],
    "failover": [(failover, {}), CIRCUIT],
    "hedged": [(failover, {"hedge_after": 1}), CIRCUIT],
    "degrade_to": [(degrade_to, {}), CIRCUIT],
    "all": [(degrade_to, {}), (classified_retry, {}), (failover, {}), (adaptive_limit, {}), CIRCUIT],
}
GIVEN = {failover: (Endpoint("a"), Endpoint("b")), degrade_to: (LastAnswer(), "sorry")}


@pytest.fixture
def garbage():
    """How many objects only the cycle collector can free, from now on."""
    gc.collect()
    gc.freeze()  # a look through all that other tests have imported takes 0.1 s, and a test looks three times
    gc.disable()
    yield gc.collect
    gc.enable()


def put_on(stack, function, registry):
    for decorator, settings in reversed(stack):
        function = decorator(*GIVEN.get(decorator, ()), registry=registry, **settings)(function)
    return function


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("stack", STACKS)
async def test_a_call_that_fails_leaves_nothing_behind(stack, error, registry, clock, garbage, anyio_backend_name):
    if stack == "hedged" and anyio_backend_name == "asyncio":
        pytest.skip("anyio's task groups leave garbage of their own there when they cancel a task")
    ask = put_on(STACKS[stack], Provider(clock, ERRORS[error]).answer, registry)

    async def once(request: Request) -> None:
        await ask(request)

    assert await left_behind(once, clock, garbage) == (0, 0)


@pytest.mark.parametrize("stack", [stack for stack in STACKS if stack != "hedged"])
async def test_a_call_that_succeeds_leaves_nothing_behind_but_its_answer(stack, registry, clock, garbage):
    policies = [each for each in STACKS[stack] if each[0] is not degrade_to]  # which remembers the question
    ask = put_on(policies, Provider(clock, ("answers",)).answer, registry)

    assert await left_behind(ask, clock, garbage) == (0, 0)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bisect": True},
        {"deduplicate": True},
        {"max_concurrency": 1},
        {"max_concurrency": 1, "max_queue_size": 1, "when_full": "wait"},
    ],
    ids=str,
)
@pytest.mark.parametrize("error", [*ERRORS, "one by one"])
async def test_a_batch_that_fails_leaves_nothing_behind(error, settings, registry, clock, garbage):
    told = ERRORS.get(error, (error,))
    stack = [(batched, {"batch_size": 4, **settings}), (failover, {}), CIRCUIT]
    ask = put_on(stack, Provider(clock, told).answer, registry)

    async def once(request: Request) -> None:
        async def caller() -> None:
            with suppress(Exception):
                await ask(request)

        async with anyio.create_task_group() as callers:
            for _ in range(4):
                callers.start_soon(caller)

    assert await left_behind(once, clock, garbage) == (0, 0)


@pytest.mark.parametrize("error", ERRORS)
async def test_a_stream_that_breaks_leaves_nothing_behind(error, registry, clock, garbage):
    stack = [
        (classified_retry, {}),
        (failover, {}),
        (adaptive_limit, {}),
        (circuit_breaker, {"idle_timeout_seconds": 5}),
    ]
    tell = put_on(stack, Provider(clock, ERRORS[error]).stream, registry)

    async def once(request: Request) -> None:
        async with aclosing(tell(request)) as pieces:
            async for _ in pieces:
                pass

    assert await left_behind(once, clock, garbage) == (0, 0)


async def left_behind(once, clock, garbage) -> tuple[int, int]:
    """Requests that somebody still has, and objects that wait for the collector, after some failing calls."""
    requests: weakref.WeakSet[Request] = weakref.WeakSet()
    async with clock.autojump():
        for number in range(TIMES + 1):
            if number == 1:
                garbage()  # of what is made once
            request = Request()
            requests.add(request)
            with suppress(Exception):
                await once(request)
            del request
        await clock.sleep(1)  # what the event loop has still in hand
        return len(requests), garbage()
