"""How a function gets its endpoint."""

from __future__ import annotations

import functools
import inspect
from unittest.mock import AsyncMock

import anyio
import pytest

from resilient_ai import Endpoint, failover, resilient
from tests.failover.support import AP, EU, US


async def test_the_endpoint_is_the_first_argument_and_callers_do_not_pass_it(registry):
    @failover(US, registry=registry)
    async def ask(endpoint, prompt: str, *, shout: bool = False) -> str:
        return f"{endpoint.name}: {prompt}{'!' * shout}"

    assert await ask("hi", shout=True) == "us: hi!"
    assert list(inspect.signature(ask).parameters) == ["prompt", "shout"]


async def test_in_a_method_it_comes_after_self(registry):
    class Client:
        greeting = "hello"

        @failover(US, registry=registry)
        async def ask(self, endpoint, prompt: str) -> str:
            return f"{self.greeting} {endpoint.name}: {prompt}"

        @failover(US, registry=registry)
        async def tokens(self, endpoint, count: int):
            for number in range(count):
                yield endpoint.name, number

        @classmethod
        @failover(US, registry=registry)
        async def make(cls, endpoint, prompt: str) -> str:
            return f"{cls.__name__} {endpoint.name}: {prompt}"

        @staticmethod
        @failover(US, registry=registry)
        async def bare(endpoint, prompt: str) -> str:
            return f"{endpoint.name}: {prompt}"

    client = Client()

    assert await client.ask("hi") == await Client.ask(client, "hi") == "hello us: hi"
    assert [item async for item in client.tokens(2)] == [("us", 0), ("us", 1)]
    assert await client.make("hi") == await Client.make("hi") == "Client us: hi"
    assert await client.bare("hi") == await Client.bare("hi") == "us: hi"


@pytest.mark.parametrize(
    ("endpoints", "message"),
    [
        ([], "failover needs at least one endpoint: @failover\\(us, eu\\)"),
        ([US, EU, US], "need unique names, got 'us' twice"),
        (["us"], "endpoints need a .name; write Endpoint\\('us'\\)"),
        ([[US, EU]], "write @failover\\(\\*endpoints\\)"),
        ([lambda endpoint: None], "needs endpoints before the function: @failover\\(us, eu\\), got .*lambda"),
        ([42], "endpoints need a .name that is a non-empty string, got an int"),
        ([Endpoint("heavy", weight=-1)], "weight of endpoint 'heavy' must be a number of at least 0, got -1"),
    ],
)
def test_wrong_endpoints_are_refused_with_the_way_out(endpoints, message, registry):
    async def ask(endpoint) -> None: ...

    with pytest.raises(ValueError, match=message):
        failover(*endpoints, registry=registry)(ask)


class Client:
    async def bare(self) -> None: ...

    async def one(self, endpoint) -> None: ...

    @staticmethod
    async def static() -> None: ...

    @staticmethod
    async def static_one(endpoint) -> None: ...

    async def __call__(self, endpoint) -> None: ...


async def bare(*, endpoint) -> None: ...


async def two(prompt, endpoint) -> None: ...


async def several(*arguments) -> None: ...


WITHOUT_ENDPOINT = {
    "keyword only": bare,
    "method": Client.bare,
    "bound method": Client().bare,
    "static method": vars(Client)["static"],
    "partial": functools.partial(two, endpoint=1, prompt=2),
}
WITH_ENDPOINT = {
    "any arguments": several,
    "method": Client.one,
    "bound method": Client().one,
    "static method": Client.static_one,
    "static method in its class": vars(Client)["static_one"],
    "callable object": Client(),
    "partial": functools.partial(two, "hi"),
    "partial of a method": functools.partial(Client.one, Client()),
    "mock": AsyncMock(),
}


@pytest.mark.parametrize("fn", WITHOUT_ENDPOINT.values(), ids=WITHOUT_ENDPOINT)
@pytest.mark.parametrize("decorator", [failover, resilient])
def test_a_function_without_a_parameter_for_the_endpoint_is_refused_with_the_way_out(decorator, fn, registry):
    with pytest.raises(TypeError, match=r"for which .* has no parameter; write it first: \w+\(endpoint, \.\.\.\)"):
        decorator(US, registry=registry)(fn)


@pytest.mark.parametrize("fn", WITH_ENDPOINT.values(), ids=WITH_ENDPOINT)
async def test_wherever_the_endpoint_has_a_parameter_it_is_taken(fn, registry):
    instance = [Client()] if fn is Client.one else []
    ask = failover(US, registry=registry)(fn)

    await (ask.__func__ if type(ask) is staticmethod else ask)(*instance)


def test_each_of_two_failovers_needs_a_parameter(registry):
    async def ask(endpoint) -> None: ...

    once = failover(US, registry=registry)(ask)

    with pytest.raises(TypeError, match="ask has no parameter"):
        failover(AP, registry=registry)(once)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "fastest"}, "strategy must be 'round_robin', .* or a callable, got 'fastest'"),
        ({"health_check": "ping"}, "health_check must be an async function, None or False, got 'ping'"),
        ({"health_check_interval": -1}, "health_check_interval must be a number of at least 0, got -1"),
        ({"max_endpoints": 0}, "max_endpoints must be an integer of at least 1 or None, got 0"),
        ({"hedge_after": "p99"}, "hedge_after must be seconds, 'p95' or None, got 'p99'"),
        ({"hedge_after": -1}, "hedge_after must be a number of at least 0 or None, got -1"),
        ({"hedge_budget": 2}, "hedge_budget must be a number of at least 0 up to 1, got 2"),
        ({"reject": "no"}, "reject must be a plain callable or None, got 'no'"),
        ({"commits": anyio.sleep}, "commits must be a plain callable or None, got <function sleep"),
        ({"idempotent": "no"}, "idempotent must be True, False or a function, got 'no'"),
    ],
)
def test_bad_settings_are_refused_at_decoration(settings, message, registry):
    with pytest.raises(ValueError, match=message):
        failover(US, EU, registry=registry, **settings)


def test_the_same_name_with_other_endpoints_is_refused(over):
    over(US, EU)

    with pytest.raises(ValueError, match="failover 'ask' already exists with other settings: endpoints"):
        over(US, AP)


def test_an_endpoint_shows_no_attribute_that_could_be_a_key():
    shown = repr(Endpoint("us", api_key="sk-planted", url="https://user:planted@host", weight=2, region="us-east"))

    assert shown == "Endpoint('us', api_key=…, url=…, weight=2, region='us-east')"
