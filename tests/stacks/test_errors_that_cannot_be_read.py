"""An error some of whose properties raise is treated as what it is: httpx's have no `.request` where nobody set it."""

from __future__ import annotations

import httpx
import pytest

from resilient_ai import AIServiceError, Endpoint, ErrorType, RetryRule, classified_retry, degrade_to, resilient

US, EU = Endpoint("us"), Endpoint("eu")
AT_ONCE = {ErrorType.NETWORK_ERROR: RetryRule(2, 0, 0)}


def _raising(_error):
    raise RuntimeError("there is no value")


class ShyError(ConnectionError):
    """Each attribute that somebody might look for raises."""

    request = response = errors = exceptions = status_code = status = body = headers = code = property(_raising)


DECORATORS = {
    "classified_retry": lambda registry: classified_retry(rules=AT_ONCE, registry=registry),
    "resilient": lambda registry: resilient(US, EU, classified_retry={"rules": AT_ONCE}, registry=registry),
}


@pytest.mark.parametrize("error", [httpx.ConnectError, ShyError])
@pytest.mark.parametrize("decorator", DECORATORS)
async def test_a_call_is_tried_again(decorator, error, registry):
    calls = []

    @DECORATORS[decorator](registry)
    async def ask(*_given) -> str:
        calls.append(1)
        if len(calls) < 3:
            raise error("connection refused")
        return "pong"

    assert await ask() == "pong"


@pytest.mark.parametrize("error", [httpx.RemoteProtocolError, ShyError])
@pytest.mark.parametrize("decorator", DECORATORS)
async def test_the_reader_of_a_stream_gets_what_broke_it(decorator, error, registry):
    @DECORATORS[decorator](registry)
    async def parts(*_given):
        yield "a part"
        raise error("peer closed connection")

    with pytest.raises(error, match="peer closed connection"):
        [part async for part in parts()]


@pytest.mark.parametrize("error", [httpx.ConnectError, ShyError])
async def test_it_is_named_when_retries_are_over_and_degraded(error, registry):
    @classified_retry(rules=AT_ONCE, registry=registry)
    async def ask() -> str:
        raise error("connection refused")

    with pytest.raises(AIServiceError) as caught:
        await ask()

    assert caught.value.error_type is ErrorType.NETWORK_ERROR
    assert type(caught.value.original_error) is error
    assert await degrade_to("later", registry=registry)(ask)() == "later"
