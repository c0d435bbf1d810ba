"""Answers that nobody wants are closed, whatever their close is called."""

from __future__ import annotations

from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import (
    AIServiceError,
    Endpoint,
    ErrorType,
    RejectedResultError,
    RetryRule,
    classified_retry,
    degrade_to,
    failover,
)

A, B = Endpoint("a"), Endpoint("b")
RULES = {ErrorType.INTERNAL_ERROR: RetryRule(1, 0, 0)}


class Answer:
    def __init__(self, *, good: bool) -> None:
        self.good = good
        self.closed = 0


class WithAclose(Answer):
    async def aclose(self):
        await anyio.lowlevel.checkpoint()
        self.closed += 1


class WithClose(Answer):
    async def close(self):
        await anyio.lowlevel.checkpoint()
        self.closed += 1


class WithPlainClose(Answer):
    def close(self):
        self.closed += 1


class WithResponse(Answer):
    def __init__(self, *, good: bool) -> None:
        super().__init__(good=good)
        self.response = SimpleNamespace(aclose=self._close)

    async def _close(self):
        self.closed += 1


class WithBrokenClose(Answer):
    async def aclose(self):
        self.closed += 1
        raise OSError("already gone")


KINDS = [WithAclose, WithClose, WithPlainClose, WithResponse, WithBrokenClose]


def refuses(answer):
    return None if getattr(answer, "good", True) else ErrorType.INTERNAL_ERROR


def answering(kind, *, good_from=1):
    async def ask(*_args):
        ask.made.append(kind(good=len(ask.made) >= good_from))
        return ask.made[-1]

    ask.made = []
    return ask


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", ["retry", "failover", "both"])
async def test_a_refused_result_that_is_replaced_is_closed_once(registry, kind, policy):
    call = ask = answering(kind, good_from=2 if policy == "both" else 1)
    if policy != "retry":
        call = failover(A, B, name="regions", reject=refuses, registry=registry)(call)
    if policy != "failover":
        reject = refuses if policy == "retry" else None
        call = classified_retry("retry", rules=RULES, reject=reject, registry=registry)(call)
    answer = await call()

    assert answer is ask.made[-1]
    assert [each.closed for each in ask.made] == [1] * (len(ask.made) - 1) + [0]


async def test_a_refused_result_that_nobody_replaces_is_the_callers(registry):
    ask = answering(WithAclose, good_from=9)
    with pytest.raises(AIServiceError) as caught:
        await classified_retry("retry", rules=RULES, reject=refuses, registry=registry)(ask)()

    assert isinstance(caught.value.original_error, RejectedResultError)
    assert [each.closed for each in ask.made] == [1, 0]


async def test_a_fallback_replaces_it(registry):
    ask = answering(WithClose, good_from=9)
    call = failover(A, B, name="regions", reject=refuses, registry=registry)(ask)

    assert await degrade_to("sorry", registry=registry)(call)() == "sorry"
    assert [each.closed for each in ask.made] == [1, 1]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_that_lost_a_hedge_is_closed(registry, clock, kind):
    made = {}

    @failover(A, B, strategy="priority", hedge_after=1, hedge_budget=1.0, registry=registry)
    async def ask(endpoint):
        made[endpoint.name] = kind(good=True)
        if endpoint is A:
            try:
                await clock.sleep(10)
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await anyio.lowlevel.checkpoint()
                return made["a"]  # it answers all the same
        return made[endpoint.name]

    async with clock.autojump():
        assert await ask() is made["b"]

    assert (made["a"].closed, made["b"].closed) == (1, 0)
