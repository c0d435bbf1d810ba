"""Arguments that do not fit are the caller's mistake: no circuit opens, no endpoint rests, the error stays plain."""

from __future__ import annotations

import pytest

from resilient_ai import Endpoint, circuit_breaker, classified_retry, classify, degrade_to, failover


def stack(fn, registry):
    for put_on in (
        circuit_breaker("circuit", failure_threshold=1, timeout_seconds=None, registry=registry),
        failover(Endpoint("us"), Endpoint("eu"), name="regions", registry=registry),
        classified_retry("retry", registry=registry),
        degrade_to("sorry", name="fallback", registry=registry),
    ):
        fn = put_on(fn)
    return fn


class Client:
    async def ask(self, endpoint: Endpoint, prompt: str) -> str:
        return f"{endpoint.name}: {prompt}"


async def ask(endpoint: Endpoint, prompt: str) -> str:
    return f"{endpoint.name}: {prompt}"


async def tokens(endpoint: Endpoint, prompt: str):
    yield prompt


@pytest.mark.parametrize("made", ["function", "method"])
async def test_a_call_with_wrong_arguments_says_nothing_about_the_provider(registry, made):
    if made == "function":
        call = stack(ask, registry)
    else:
        owner = type("Owner", (), {"ask": stack(Client.ask, registry)})
        call = owner().ask
    for _ in range(3):
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'prompt'") as caught:
            await call()
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            await call("hi", promt="hi")

    assert caught.value.__notes__ == [
        "resilient_ai: the arguments do not fit, so the function was not entered; no policy counts that"
    ]
    assert [breaker.stats().total_failures for breaker in registry.circuit_breakers.values()] == [0, 0]
    assert all(endpoint.stats().failures == 0 for endpoint in registry.endpoints.values())
    assert registry.failovers["regions"].stats().moves == 0
    assert await call("hi") == "us: hi"


async def test_a_stream_with_wrong_arguments_says_nothing_either(registry):
    stream = stack(tokens, registry)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'prompt'"):
        async for _ in stream():
            raise AssertionError("it has no items")

    assert [breaker.stats().total_failures for breaker in registry.circuit_breakers.values()] == [0, 0]
    assert [item async for item in stream("hi")] == ["hi"]


HINT = "resilient_ai: failover hands the endpoint in; leave it out of the call"
PASSED = [(lambda call: call(Endpoint("us"), "hi")), (lambda call: call("hi", endpoint=Endpoint("other")))]


@pytest.mark.parametrize("resting", [False, True])
@pytest.mark.parametrize("passed", PASSED, ids=["by-position", "by-name"])
async def test_who_passes_the_endpoint_is_told_to_leave_it_out(registry, passed, resting):
    call = stack(ask, registry)
    if resting:  # then the way to an endpoint is another one
        registry.endpoints["us"].mark_down()
    with pytest.raises(TypeError) as caught:
        await passed(call)

    assert caught.value.__notes__[1:] == [HINT]


@pytest.mark.parametrize("passed", PASSED, ids=["by-position", "by-name"])
async def test_who_passes_a_stream_the_endpoint_is_told_so_too(registry, passed):
    with pytest.raises(TypeError) as caught:
        await anext(passed(stack(tokens, registry)))

    assert caught.value.__notes__[1:] == [HINT]


async def test_a_method_too(registry):
    owner = type("Owner", (), {"ask": stack(Client.ask, registry)})
    with pytest.raises(TypeError) as caught:
        await owner().ask(Endpoint("us"), "hi")

    assert caught.value.__notes__[1:] == [HINT]


async def test_other_wrong_calls_get_no_hint(registry):
    with pytest.raises(TypeError) as caught:
        await stack(ask, registry)("hi", "ho")

    assert len(caught.value.__notes__) == 1


async def test_a_type_error_from_inside_is_a_bug_of_the_program_and_opens_no_circuit(registry):
    async def broken() -> None:
        len(3)  # type: ignore[arg-type]

    call = circuit_breaker("broken", failure_threshold=1, registry=registry)(broken)
    with pytest.raises(TypeError) as caught:
        await call()

    assert registry.circuit_breakers["broken"].state == "closed"
    assert classify(caught.value).blame == "program"
