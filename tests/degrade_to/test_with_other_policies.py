"""Fallbacks above other policies."""

from __future__ import annotations

import gc

from resilient_ai import Endpoint, degrade_to, failover
from tests.degrade_to.support import failing, lambda_async


async def test_below_a_failover_rungs_see_the_arguments_that_the_caller_passed(registry):
    seen = []

    @degrade_to(lambda call: seen.append(call.arguments) or "sorry", registry=registry)
    @failover(Endpoint("a"), Endpoint("b"), registry=registry)
    async def ask(endpoint, prompt: str, tone: str = "kind") -> str:
        raise OSError

    class Bot:
        @degrade_to(lambda call: seen.append(call.arguments) or "sorry", registry=registry)
        @failover(Endpoint("a"), Endpoint("b"), registry=registry)
        async def ask(self, endpoint, prompt: str) -> str:
            raise OSError

        @degrade_to(lambda call: seen.append(call.arguments) or "sorry", registry=registry)
        @classmethod
        async def of_class(cls, prompt: str) -> str:
            raise OSError

        @degrade_to(lambda call: seen.append(call.arguments) or "sorry", registry=registry)
        @staticmethod
        async def of_none(prompt: str) -> str:
            raise OSError

    for answer in (ask("hi"), Bot().ask("hi"), Bot.of_class("hi"), Bot().of_none("hi")):
        assert await answer == "sorry"

    assert seen == [{"prompt": "hi", "tone": "kind"}, {"prompt": "hi"}, {"prompt": "hi"}, {"prompt": "hi"}]


async def test_what_args_and_kwargs_take_is_named_by_number_and_by_name(registry):
    @degrade_to(lambda call: call.arguments, registry=registry)
    async def ask(first, *more, tone="kind", **rest):
        raise OSError

    assert await ask("a", "b", "c", size=3) == {"first": "a", "1": "b", "2": "c", "tone": "kind", "size": 3}


async def test_nothing_of_a_call_stays_behind_in_cycles(registry):
    ask = degrade_to("sorry", registry=registry)(failing(None))
    good = degrade_to("sorry", name="good", registry=registry)(lambda_async("pong"))

    async def raising():
        raise OSError

    fresh = degrade_to("sorry", name="fresh", registry=registry)(raising)
    for call in (ask, good, fresh):
        await call()
        gc.collect()
        for _ in range(50):
            await call()

        assert gc.collect() < 50
