"""How a function gets its endpoint."""

from __future__ import annotations

import inspect

import anyio
import pytest

from resilient_ai import Endpoint, failover
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
