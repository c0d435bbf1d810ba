"""Whatever happens to it, a plain function answers, counts and tells what an async one does."""

from __future__ import annotations

import random

import anyio
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import (
    Endpoint,
    Registry,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
    watch,
)
from resilient_ai.testing import VirtualClock, capture_events
from tests.helpers import ProviderError, errors_mean_what_they_say

RECOMMENDED = ("degrade_to", "classified_retry", "failover", "circuit_breaker")


class HurriedClock(VirtualClock):
    """Sleeps take no time but their own."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


class Side:
    """One stack over a scripted provider, in a registry of its own."""

    def __init__(self, policies, strategy, *, plain, streams):
        self.clock = HurriedClock()
        self.registry = Registry(clock=self.clock, rng=random.Random(7), listeners=())
        self.outcomes = []
        self.given = []
        self.plain, self.streams = plain, streams
        call = self.function()
        call.__qualname__ = call.__name__ = "ask"
        for policy in reversed(policies):
            call = self.decorator(policy, strategy)(call)
        client = type("Client", (), {"ask": call, "name": "client"})()
        self.calls = {"function": call, "method": client.ask}

    def decorator(self, policy, strategy):
        if policy == "degrade_to":
            return degrade_to("sorry", stream=self.streams == "returns", registry=self.registry)
        if policy == "classified_retry":
            return classified_retry(registry=self.registry)
        if policy == "failover":
            return failover(Endpoint("eu"), Endpoint("us"), strategy=strategy, registry=self.registry)
        return circuit_breaker(
            timeout_seconds=None, idle_timeout_seconds=None, failure_threshold=2, registry=self.registry
        )

    def function(self):
        def asked(given):
            self.given.append([getattr(each, "name", each) for each in given])
            outcome, seconds, after = self.outcomes.pop(0) if self.outcomes else ("ok", 0.5, 0)
            self.clock.advance(seconds)
            for number in range(after if self.streams else 0):
                yield f"piece {number}"
            if outcome == "bug":
                raise ZeroDivisionError("a bug")
            if outcome != "ok":
                raise ProviderError(outcome)
            yield "pong"

        def plain(*given):
            return next(asked(given))

        async def returned(*given):
            return next(asked(given))

        def plain_stream(*given):
            return asked(given)

        def yielding(*given):
            yield from asked(given)

        async def async_yielding(*given):
            for piece in asked(given):
                yield piece

        async def async_stream(*given):
            return async_yielding(*given)

        both = {None: (plain, returned), "returns": (plain_stream, async_stream), "yields": (yielding, async_yielding)}
        return both[self.streams][0 if self.plain else 1]

    def ask(self, way, outcomes, watched, backend):
        """What the caller and a watcher see, and the function was given."""
        call, self.outcomes = self.calls[way], list(outcomes)
        seen = None
        try:
            if watched:
                with watch() as seen:
                    answer = self.answer(call, backend)
            else:
                answer = self.answer(call, backend)
        except Exception as error:
            answer = type(error), str(error), type(error.__cause__)
        given, self.given = self.given, []
        return answer, repr(seen), given

    def answer(self, call, backend):
        if self.plain:
            return list(call("ping")) if self.streams else call("ping")

        async def run():
            if not self.streams:
                return await call("ping")
            stream = call("ping")
            return [piece async for piece in (stream if self.streams == "yields" else await stream)]

        return anyio.run(run, backend=backend)

    def operate(self, what):
        if what in ("trip", "force_open", "disable", "reset"):
            for circuit in self.registry.circuit_breakers.values():
                if what != "trip" or circuit.state.value in ("closed", "half_open", "open"):
                    getattr(circuit, what)()
        elif what in ("mark_down", "mark_up"):
            for each in self.registry.failovers.values():
                getattr(each, what)("eu")
        else:
            self.clock.advance(float(what))


OUTCOME = st.tuples(
    st.sampled_from(
        [
            "ok",
            "ok",
            "model_overloaded",
            "rate_limit",
            "invalid_request",
            "invalid_output",
            "quota_exceeded",
            "timeout",
            "bug",
        ]
    ),
    st.sampled_from([0.0, 0.25, 2.0]),
    st.sampled_from([0, 0, 1]),
)
STEP = st.one_of(
    st.tuples(st.just("ask"), st.lists(OUTCOME, max_size=4), st.sampled_from([False, False, False, True])),
    st.tuples(
        st.just("operate"),
        st.sampled_from(["trip", "force_open", "disable", "reset", "mark_down", "mark_up", "1", "61", "601"]),
    ),
)


@given(
    policies=st.sets(st.sampled_from(RECOMMENDED), min_size=1),
    steps=st.lists(STEP, min_size=1, max_size=10),
    strategy=st.sampled_from(["round_robin", "priority", "weighted", "least_latency"]),
    way=st.sampled_from(["function", "method"]),
    streams=st.sampled_from([None, "returns", "yields"]),
    backend=st.sampled_from(["asyncio", "trio"]),
)
def test_a_plain_function_answers_counts_and_tells_what_an_async_one_does(
    policies, steps, strategy, way, streams, backend
):
    order = tuple(policy for policy in RECOMMENDED if policy in policies)
    one, other = (Side(order, strategy, plain=each, streams=streams) for each in (True, False))
    with (
        errors_mean_what_they_say(),
        capture_events(one.registry) as told,
        capture_events(other.registry) as expected,
    ):
        for what, *given_ in steps:
            if what == "operate":
                one.operate(*given_)
                other.operate(*given_)
            else:
                assert one.ask(way, *given_, backend) == other.ask(way, *given_, backend)
            assert one.registry.as_dict() == other.registry.as_dict()

    assert told == expected
