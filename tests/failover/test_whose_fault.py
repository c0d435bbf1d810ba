"""Bugs of the program, answers that do not fit, and parameters that one endpoint cannot take."""

from __future__ import annotations

from collections import Counter

import pytest

from resilient_ai import (
    AIServiceError,
    AllEndpointsFailedError,
    Endpoint,
    ErrorType,
    RejectedResultError,
    RetryRule,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
)
from resilient_ai._core.errors import ParameterError
from resilient_ai.types import EndpointState
from tests.failover.support import AP, EU, US, RefusalError


def misfit() -> Exception:
    return RejectedResultError("{", ErrorType.INVALID_OUTPUT)


def states(registry) -> dict[str, EndpointState]:
    return {name: endpoint.stats().state for name, endpoint in registry.endpoints.items()}


def failures(registry) -> dict[str, int]:
    return {name: endpoint.stats().failures for name, endpoint in registry.endpoints.items()}


# -- bugs


async def test_a_bug_is_asked_at_one_other_endpoint_and_then_raised_as_it_is(over, regions, registry):
    ask = over(US, EU, AP, strategy="priority")
    regions.faults |= {"us": KeyError("first"), "eu": KeyError("second"), "ap": KeyError("third")}
    with pytest.raises(KeyError) as caught:
        await ask()

    assert caught.value is regions.faults["us"]
    assert regions.was_asked() == ["us", "eu"]
    assert failures(registry) == {"us": 0, "eu": 0, "ap": 0}


async def test_where_the_other_endpoint_answers_the_first_counts_a_failure(over, regions, registry):
    ask = over(US, EU, AP, strategy="priority")
    regions.faults["us"] = TypeError("'NoneType' object is not subscriptable")

    assert await ask() == "eu: hi"
    assert failures(registry) == {"us": 1, "eu": 0, "ap": 0}


async def test_where_the_other_endpoint_fails_for_a_reason_of_its_own_the_bug_is_raised(over, regions, registry):
    ask = over(US, EU, AP, strategy="priority")
    regions.faults |= {"us": KeyError("choices"), "eu": RefusalError(503)}
    with pytest.raises(KeyError):
        await ask()

    assert regions.was_asked() == ["us", "eu"]
    assert failures(registry) == {"us": 0, "eu": 1, "ap": 0}


async def test_a_bug_after_an_outage_is_asked_once_more(over, regions, registry):
    ask = over(US, EU, AP, strategy="priority")
    regions.faults |= {"us": RefusalError(503), "eu": KeyError("choices")}

    assert await ask() == "ap: hi"
    assert failures(registry) == {"us": 1, "eu": 1, "ap": 0}


async def test_a_bug_at_the_only_endpoint_is_raised(over, regions, registry):
    ask = over(US)
    regions.faults["us"] = KeyError("choices")
    for _ in range(30):
        with pytest.raises(KeyError):
            await ask()

    assert (states(registry), failures(registry)) == ({"us": EndpointState.UP}, {"us": 0})


async def test_a_call_with_wrong_arguments_is_asked_nowhere_else(over, regions, registry):
    ask = over(US, EU)
    with pytest.raises(TypeError):
        await ask("hi", "ho", "hum")

    assert regions.was_asked() == []
    assert states(registry) == {"us": EndpointState.UP, "eu": EndpointState.UP}


async def test_a_bug_opens_no_circuit_and_no_fallback_hides_it(registry):
    asked: Counter[str] = Counter()

    @degrade_to("sorry", registry=registry)
    @classified_retry(registry=registry)
    @failover(US, EU, AP, registry=registry)
    @circuit_breaker("c", failure_threshold=1, registry=registry)
    async def ask(endpoint):
        asked[endpoint.name] += 1
        return {}["choices"]

    for _ in range(6):
        with pytest.raises(KeyError):
            await ask()

    assert sum(asked.values()) == 12
    assert {circuit.state for circuit in registry.circuit_breakers.values()} == {"closed"}


async def test_a_bug_in_a_stream_before_and_after_its_first_item(registry):
    @failover(US, EU, strategy="priority", registry=registry)
    async def tokens(endpoint, after):
        for number in range(3):
            if endpoint.name == "us" and number == after:
                raise KeyError("delta")
            yield f"{endpoint.name} {number}"

    assert [token async for token in tokens(0)] == ["eu 0", "eu 1", "eu 2"]
    registry.endpoints["us"].mark_up()
    before = failures(registry)
    with pytest.raises(KeyError):
        _ = [token async for token in tokens(1)]

    assert failures(registry) == before


# -- answers that do not fit


async def test_an_answer_that_does_not_fit_moves_to_any_other_endpoint_and_blames_none(over, regions, registry):
    ask = over(US, EU, strategy="priority")
    regions.faults["us"] = misfit()
    for _ in range(5):
        assert await ask() == "eu: hi"

    assert states(registry) == {"us": EndpointState.UP, "eu": EndpointState.UP}


@pytest.mark.parametrize("endpoints", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("inside", [False, True], ids=["retry around failover", "failover around retry"])
@pytest.mark.parametrize("reraise", [False, True], ids=["", "reraise"])
async def test_no_call_pays_for_more_than_three_answers(registry, clock, endpoints, inside, reraise):
    paid = []
    regions = [Endpoint(str(number)) for number in range(endpoints)]
    retry = classified_retry("r", reraise=reraise, registry=registry)
    policies = [retry, failover(*regions, registry=registry)]

    async def ask(endpoint):
        paid.append(endpoint.name)
        raise misfit()

    for policy in policies if inside else reversed(policies):
        ask = policy(ask)
    with pytest.raises((AIServiceError, AllEndpointsFailedError, RejectedResultError)) as caught:
        await ask()

    assert len(paid) == 3
    assert inside or len(set(paid)) == min(endpoints, 3)
    assert clock.now() == 0
    assert reraise or caught.value.error_type is ErrorType.INVALID_OUTPUT


async def test_answers_between_other_failures_are_counted_too(registry, clock):
    paid = []

    @classified_retry(rules={ErrorType.NETWORK_ERROR: RetryRule(5, 0.0, 0.0)}, registry=registry)
    @failover(US, EU, AP, strategy="priority", registry=registry)
    async def ask(endpoint):
        if endpoint.name == "eu":
            raise ConnectionError("reset")
        paid.append(endpoint.name)
        raise misfit()

    async with clock.autojump():
        with pytest.raises(AIServiceError):
            await ask()

    assert len(paid) == 3


async def test_what_one_call_has_paid_for_is_no_matter_of_the_next(registry):
    paid = []

    @classified_retry(registry=registry)
    @failover(US, EU, registry=registry)
    async def ask(endpoint):
        paid.append(endpoint.name)
        raise misfit()

    for _ in range(4):
        with pytest.raises(AIServiceError):
            await ask()

    assert len(paid) == 12


async def test_a_rule_of_the_users_own_says_how_many_answers_may_be_paid_for(registry):
    paid = []

    @classified_retry(rules={ErrorType.INVALID_OUTPUT: RetryRule(4, 0.0, 0.0)}, registry=registry)
    @failover(US, EU, registry=registry)
    async def ask(endpoint):
        paid.append(endpoint.name)
        raise misfit()

    with pytest.raises(AIServiceError):
        await ask()

    assert len(paid) in (5, 6)  # the last attempt may be one at two endpoints


async def test_a_stream_pays_for_no_more_than_three_answers_either(registry):
    paid = []

    @classified_retry(registry=registry)
    @failover(US, EU, registry=registry)
    async def tokens(endpoint):
        paid.append(endpoint.name)
        raise misfit()
        yield

    with pytest.raises(AIServiceError):
        _ = [token async for token in tokens()]

    assert len(paid) == 3


# -- parameters

REFUSALS = {
    "ours": ParameterError("us", "the openai API takes no parameter 'thinking'"),
    "code": RefusalError(400, code="unsupported_parameter"),
    "value": RefusalError(400, code="unsupported_value"),
}
TEXTS = [
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
    "Unrecognized request argument supplied: reasoning_effort",
    "thinking: Extra inputs are not permitted",
    "extraneous key [top_k] is not permitted, please reformat your input and try again.",
    'Invalid JSON payload received. Unknown name "thinkingConfig": Cannot find field.',
    "registry.ollama.ai/library/gemma:2b does not support tools",
    "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
    "`temperature` is deprecated for this model.",
    "'response_format' of type json_schema is not supported with this model",
    "parameter logprobs is not supported by this model",
    "property 'reasoning_effort' is unsupported",
    "Additional properties are not allowed ('foo' was unexpected)",
]


def refusal(text: str, status: int = 400) -> RefusalError:
    error = RefusalError(status)
    error.body = {"error": {"message": text, "type": "invalid_request_error"}}
    return error


REFUSALS |= {text: refusal(text) for text in TEXTS}
REFUSALS["fastapi"] = RefusalError(422)
REFUSALS["fastapi"].body = {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "x"}]}


@pytest.mark.parametrize("error", list(REFUSALS.values()), ids=REFUSALS)
async def test_a_parameter_that_one_endpoint_cannot_take_rules_it_out_for_this_call_alone(
    over, regions, registry, error
):
    ask = over(US, EU, strategy="priority")
    regions.faults["us"] = error

    assert await ask() == "eu: hi"
    assert states(registry) == {"us": EndpointState.UP, "eu": EndpointState.UP}
    assert regions.was_asked() == ["us", "eu"]


@pytest.mark.parametrize(
    "text",
    [
        "messages: roles must alternate between user and assistant",
        "'messages' is a required property",
        "Invalid type for 'temperature': expected a number, got a string",
        "max_tokens: must be greater than or equal to 1",
        "Invalid value for 'model': must be a string",
    ],
)
async def test_another_mistake_of_the_callers_is_asked_nowhere_else(over, regions, text):
    ask = over(US, EU, strategy="priority")
    regions.faults["us"] = error = refusal(text)
    with pytest.raises(RefusalError) as caught:
        await ask()

    assert caught.value is error
    assert regions.was_asked() == ["us"]


@pytest.mark.parametrize("order", [("us", "eu", "ap"), ("eu", "us", "ap"), ("eu", "ap", "us")])
async def test_the_first_real_failure_decides_what_is_raised(over, regions, registry, order):
    ask = over(*(Endpoint(name) for name in order), strategy="priority")
    regions.faults |= {
        "us": RefusalError(503, retry_after=7),
        "eu": REFUSALS["ours"],
        "ap": refusal("Unsupported parameter: 'top_k'"),
    }
    with pytest.raises(AllEndpointsFailedError) as caught:
        await ask()

    assert (caught.value.error_type, caught.value.retry_after) == (ErrorType.MODEL_OVERLOADED, 7)
    assert list(caught.value.errors) == list(order)
    assert caught.value.__cause__ is regions.faults["us"]
    assert failures(registry) == {"us": 1, "eu": 0, "ap": 0}


async def test_an_outage_beside_a_parameter_is_degraded_and_a_parameter_alone_is_not(registry):
    faults = {"us": RefusalError(503), "eu": REFUSALS["ours"]}

    @degrade_to("sorry", registry=registry)
    @failover(US, EU, strategy="priority", registry=registry)
    async def ask(endpoint):
        raise faults[endpoint.name]

    assert await ask() == "sorry"
    faults["us"] = REFUSALS["code"]
    with pytest.raises((RefusalError, ParameterError)):
        await ask()


async def test_a_parameter_that_no_endpoint_takes_is_raised_as_it_is(over, regions, registry):
    ask = over(US, EU, strategy="priority")
    regions.faults |= {"us": REFUSALS["ours"], "eu": REFUSALS["code"]}
    with pytest.raises(ParameterError) as caught:
        await ask()

    assert caught.value is regions.faults["us"]
    assert states(registry) == {"us": EndpointState.UP, "eu": EndpointState.UP}


# -- too long, or filtered


@pytest.mark.parametrize(
    ("code", "other", "moves"),
    [
        ("context_length_exceeded", {"model": "claude"}, True),
        ("context_length_exceeded", {"model": "gpt", "provider": "azure"}, True),
        ("context_length_exceeded", {"model": "gpt"}, False),
        ("context_length_exceeded", {"model": "claude", "context_window": 8_000}, False),
        ("context_length_exceeded", {"model": "claude", "context_window": 9_000}, True),
        ("context_length_exceeded", {"model": "gpt", "context_window": 9_000}, True),
        ("content_filter", {"model": "claude"}, True),
        ("content_filter", {"model": "gpt", "provider": "azure"}, True),
        ("content_filter", {"model": "gpt", "context_window": 9_000}, False),
        ("content_filter", {}, False),
    ],
)
async def test_another_model_may_take_what_one_does_not(over, regions, code, other, moves):
    ask = over(
        Endpoint("one", model="gpt", provider="openai", context_window=8_000),
        Endpoint("two", **{"provider": "openai", **other}),
        strategy="priority",
    )
    regions.faults["one"] = RefusalError(400, code=code)
    if moves:
        assert await ask() == "two: hi"
    else:
        with pytest.raises(RefusalError):
            await ask()


async def test_a_window_that_only_one_of_two_models_declares_forbids_nothing(over, regions):
    ask = over(Endpoint("one", model="gpt"), Endpoint("two", model="claude", context_window=8_000), strategy="priority")
    regions.faults["one"] = RefusalError(400, code="context_length_exceeded")

    assert await ask() == "two: hi"


# -- with hedging, and for calls that must not run twice


@pytest.mark.parametrize("others", [KeyError("second"), RefusalError(503)], ids=["a bug", "an outage"])
async def test_a_hedged_bug_is_asked_at_one_other_endpoint_too(over, regions, others):
    ask = over(US, EU, AP, strategy="priority", hedge_after=5.0)
    regions.faults |= {"us": KeyError("first"), "eu": others}
    with pytest.raises(KeyError) as caught:
        await ask()

    assert caught.value is regions.faults["us"]
    assert regions.was_asked() == ["us", "eu"]


async def test_a_bug_in_a_call_that_must_not_run_twice_is_asked_nowhere_else(over, regions):
    ask = over(US, EU, strategy="priority", idempotent=False)
    regions.faults["us"] = KeyError("choices")
    with pytest.raises(KeyError):
        await ask()

    assert regions.was_asked() == ["us"]


async def test_one_call_never_pays_for_more_than_three_answers_when_hedged(registry):
    paid = []

    @classified_retry(registry=registry)
    @failover(US, EU, AP, Endpoint("sa"), strategy="priority", hedge_after=5.0, registry=registry)
    async def ask(endpoint):
        paid.append(endpoint.name)
        raise misfit()

    with pytest.raises(AIServiceError):
        await ask()

    assert len(paid) == 3
