"""Ctrl-C, or another exit, out of a function of the user's gives back whatever the call held of its endpoints."""

from __future__ import annotations

import pytest

from resilient_ai import Endpoint, failover, register_classifier
from resilient_ai.events import EndpointDown, FailedOver, Hedged

US, EU = Endpoint("us"), Endpoint("eu")
EXITS = (KeyboardInterrupt, SystemExit)


class Interrupted:
    """A callback that raises, if there is something to interrupt."""

    def __init__(self, leaving):
        self.leaving = leaving
        self.calls = 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        raise self.leaving


class Provider:
    """Raises the errors that are left, then answers; as a function or as a stream of one item."""

    def __init__(self, *errors):
        self.errors = list(errors)

    async def ask(self, endpoint):
        if self.errors:
            raise self.errors.pop(0)
        return endpoint.name

    async def tokens(self, endpoint):
        yield await self.ask(endpoint)


async def outcome(call):
    """What a call, or a stream, gives."""
    if hasattr(call, "__anext__"):
        return [item async for item in call]
    return await call


def held(registry):
    return [each.stats().in_flight for each in registry.endpoints.values()]


@pytest.mark.parametrize("leaving", EXITS)
@pytest.mark.parametrize("what", ["ask", "tokens"])
async def test_out_of_a_classifier(registry, what, leaving):
    call = failover(US, EU, registry=registry)(getattr(Provider(OSError()), what))
    interrupted = Interrupted(leaving)
    unregister = register_classifier(interrupted)
    try:
        with pytest.raises(leaving):
            await outcome(call())
    finally:
        unregister()

    assert (interrupted.calls, held(registry)) == (1, [0, 0])


async def test_out_of_a_classifier_when_a_stream_breaks(registry):
    async def tokens(endpoint):
        yield 1
        raise OSError

    interrupted = Interrupted(KeyboardInterrupt)
    unregister = register_classifier(interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            await outcome(failover(US, EU, registry=registry)(tokens)())
    finally:
        unregister()

    assert (interrupted.calls, held(registry)) == (1, [0, 0])


@pytest.mark.parametrize("leaving", [*EXITS, ZeroDivisionError])
async def test_out_of_idempotent(registry, leaving):
    idempotent = Interrupted(leaving)
    ask = failover(US, EU, idempotent=idempotent, registry=registry)(Provider(OSError()).ask)
    with pytest.raises(leaving):
        await ask()

    assert (idempotent.calls, held(registry)) == (1, [0, 0])


@pytest.mark.parametrize("leaving", EXITS)
@pytest.mark.parametrize("hedge_after", [None, 1.0])
async def test_out_of_reject(registry, hedge_after, leaving):
    reject = Interrupted(leaving)
    ask = failover(US, EU, reject=reject, hedge_after=hedge_after, registry=registry)(Provider().ask)
    with pytest.raises(leaving):
        await ask()

    assert (reject.calls, held(registry)) == (1, [0, 0])


@pytest.mark.parametrize("leaving", [*EXITS, ZeroDivisionError])
async def test_out_of_a_strategy_after_an_error_that_may_be_anybodys(registry, leaving):
    picks = [US]

    def strategy(endpoints):
        if picks:
            return picks.pop()
        raise leaving

    ask = failover(US, EU, strategy=strategy, registry=registry)(Provider(KeyError("whose?")).ask)
    with pytest.raises(leaving):
        await ask()

    assert held(registry) == [0, 0]


@pytest.mark.parametrize("event", [EndpointDown, FailedOver])
@pytest.mark.parametrize("error", [OSError, KeyError])
async def test_out_of_a_listener(registry, event, error):
    def listener(heard):
        if isinstance(heard, event):
            raise KeyboardInterrupt

    registry.subscribe(listener)
    ask = failover(US, EU, registry=registry)(Provider(error()).ask)
    with pytest.raises(KeyboardInterrupt):
        await ask()

    assert held(registry) == [0, 0]


async def test_out_of_a_listener_that_hears_of_a_hedge(registry, clock):
    def listener(heard):
        if isinstance(heard, Hedged):
            raise KeyboardInterrupt

    async def ask(endpoint):
        await clock.sleep(10.0 if endpoint is US else 1.0)

    registry.subscribe(listener)
    hedged = failover(US, EU, strategy="priority", hedge_after=1.0, registry=registry)(ask)
    async with clock.autojump():
        with pytest.raises(KeyboardInterrupt):
            await hedged()

    assert held(registry) == [0, 0]
