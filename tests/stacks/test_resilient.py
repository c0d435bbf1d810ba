"""`@resilient` is the recommended stack: the decorators that it stands for, with settings that can be replaced."""

from __future__ import annotations

import inspect

import pytest

from resilient_ai import (
    AIServiceError,
    CallTimeoutError,
    CircuitOpenError,
    Endpoint,
    ErrorType,
    RetryRule,
    adaptive_limit,
    circuit_breaker,
    classified_retry,
    degrade_to,
    describe,
    failover,
    resilient,
)
from resilient_ai.usage import Usage, report_usage
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")

US, EU = Endpoint("us"), Endpoint("eu")


async def ask(endpoint, prompt: str) -> str:
    return f"[{endpoint.name}] {prompt}"


def layers(fn):
    return [(layer.kind, layer.settings) for layer in describe(fn).layers]


def test_it_stands_for_the_decorators_that_are_recommended(registry, clock):
    one = resilient(US, EU, fallback="later", registry=registry)(ask)
    by_hand = type(registry)(clock=clock, listeners=())

    @degrade_to("later", registry=by_hand)
    @classified_retry(rules={ErrorType.INTERNAL_ERROR: RetryRule(4, 0.5, 8.0)}, timeout_seconds=15.0, registry=by_hand)
    @failover(US, EU, strategy="least_latency", health_check_interval=5.0, hedge_after=7.5, registry=by_hand)
    @adaptive_limit(registry=by_hand)
    @circuit_breaker(
        recovery_timeout=1.0, success_threshold=1, half_open_max_calls=5, wait_for_all_probes=True, registry=by_hand
    )
    async def same(endpoint, prompt: str) -> str: ...

    assert layers(one) == layers(same)


async def test_bare_it_goes_on_a_function_that_knows_whom_it_calls():
    @resilient
    async def own(prompt: str) -> str:
        return prompt

    assert await own("hello") == "hello"
    assert [kind for kind, _ in layers(own)] == ["classified_retry", "adaptive_limit", "circuit_breaker"]


async def test_it_asks_another_endpoint_when_one_fails(registry):
    asked = []

    @resilient(US, EU, registry=registry)
    async def flaky(endpoint, prompt):
        asked.append(endpoint.name)
        if len(asked) == 1:
            raise ProviderError("model_overloaded")
        return prompt

    assert await flaky("hello") == "hello"
    assert sorted(asked) == ["eu", "us"]


async def test_a_caller_waits_no_longer_than_the_patience(registry, clock):
    asked = []

    @resilient(US, EU, patience=4, registry=registry)
    async def silent(_endpoint):
        asked.append(clock.now())
        await clock.sleep(1000)

    async with clock.autojump():
        with pytest.raises(CallTimeoutError):
            await silent()

    assert clock.now() == 4
    assert asked == [0, 2]  # the other endpoint after half the patience


async def test_without_patience_nothing_bounds_a_call_but_its_circuit(registry, clock):
    @resilient(US, patience=None, classified_retry={"max_attempts": 1}, registry=registry)
    async def slow(_endpoint):
        await clock.sleep(25)
        return "at last"

    async with clock.autojump():
        assert await slow() == "at last"


async def test_a_fallback_answers_when_the_patience_is_over(registry, clock):
    @resilient(patience=4, fallback=(lambda call: call.args[0].upper(), "never"), registry=registry)
    async def silent(_prompt):
        await clock.sleep(1000)

    async with clock.autojump():
        assert await silent("hello") == "HELLO"


async def test_none_can_be_the_fallback(registry):
    down = scripted(ProviderError("quota_exceeded"))

    assert await resilient(fallback=None, registry=registry)(down)() is None


async def test_streams_are_guarded_as_well(registry):
    @resilient(US, EU, registry=registry)
    async def items(endpoint):
        yield endpoint.name

    assert [item async for item in items()] == ["us"]


async def test_settings_of_one_policy_replace_what_is_recommended(registry, clock):
    refused = resilient(
        name="ask",
        classified_retry={"max_attempts": 1, "reraise": True},
        circuit_breaker={"failure_threshold": 1, "recovery_timeout": 30},
        registry=registry,
    )(scripted(ProviderError("internal_error"), "pong"))
    with pytest.raises(ProviderError):
        await refused()
    clock.advance(29)
    with pytest.raises(CircuitOpenError):
        await refused()
    clock.advance(1)

    assert await refused() == "pong"


def test_rules_of_ones_own_are_added_to_the_recommended_one(registry):
    own = {ErrorType.RATE_LIMIT: RetryRule(1, 1, 1)}
    together = {**own, ErrorType.INTERNAL_ERROR: RetryRule(4, 0.5, 8.0)}
    fn = resilient(name="a", classified_retry={"rules": own}, registry=registry)(scripted("pong"))
    by_hand = classified_retry("b", rules=together, timeout_seconds=15.0, registry=registry)(scripted("pong"))

    assert layers(fn)[0][1]["rules"] == layers(by_hand)[0][1]["rules"]


@pytest.mark.parametrize(
    ("left_out", "kinds"),
    [
        ({"adaptive_limit": False}, ["classified_retry", "failover", "circuit_breaker"]),
        ({"circuit_breaker": False}, ["classified_retry", "failover", "adaptive_limit"]),
        ({"adaptive_limit": False, "circuit_breaker": False}, ["classified_retry", "failover"]),
    ],
)
def test_limit_and_circuit_can_be_left_out(registry, left_out, kinds):
    assert [kind for kind, _ in layers(resilient(US, EU, **left_out, registry=registry)(ask))] == kinds


async def test_a_quota_and_a_spend_limit_join_where_they_have_settings(registry):
    @resilient(
        US,
        fallback="later",
        spend_limit={"tokens_per_hour": 1000},
        rate_limit={"requests_per_minute": 60, "burst": 1},
        name="metered",
        registry=registry,
    )
    async def metered(endpoint, prompt):
        report_usage(Usage(input_tokens=600, output_tokens=600))
        return prompt

    assert await metered("first") == "first"
    assert await metered("second") == "later"  # the tokens of the hour are spent
    assert [kind for kind, _ in layers(metered)] == [
        "degrade_to", "spend_limit", "classified_retry", "failover", "rate_limit", "adaptive_limit", "circuit_breaker",
    ]  # fmt: skip
    assert registry.rate_limits["metered[us]"].stats().calls == 1


def test_the_name_is_that_of_all_policies(registry):
    resilient(US, fallback="later", name="mine", registry=registry)(ask)

    assert {*registry.retries, *registry.failovers, *registry.degradations} == {"mine"}
    assert {*registry.limits, *registry.circuit_breakers} == {"mine[us]"}


def test_callers_see_no_endpoint(registry):
    assert [*inspect.signature(resilient(US, EU, registry=registry)(ask)).parameters] == ["prompt"]


async def test_it_goes_on_methods(registry):
    class Bot:
        @resilient(US, registry=registry)
        async def ask(self, endpoint, prompt):
            return f"{endpoint.name}: {prompt}"

    assert await Bot().ask("hello") == "us: hello"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"failover": {"idempotent": False}}, "no endpoints"),
        ({"degrade_to": {"mark": "prefix"}}, "no fallback"),
        ({"classified_retry": {"attempts": 2}}, "attempts"),
        ({"circuit_breaker": {"threshold": 2}}, "threshold"),
        ({"rate_limit": {"per_minute": 60}}, "per_minute"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(registry, settings, says):
    with pytest.raises(TypeError, match=says):
        resilient(**settings, registry=registry)


@pytest.mark.parametrize(
    "settings", [{"rate_limit": 500}, {"rate_limit": False}, {"circuit_breaker": True}, {"failover": "priority"}]
)
def test_settings_that_are_none_are_refused_by_the_name_of_their_decorator(registry, settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} of @resilient takes a dict of the settings"):
        resilient(US, **settings, registry=registry)


@pytest.mark.parametrize("patience", [0, -1, float("nan"), "15", 10**400])
def test_a_patience_that_is_none_is_refused(patience):
    with pytest.raises(ValueError, match="patience must be a number above 0 or None"):
        resilient(US, patience=patience)


def test_a_plain_object_is_no_endpoint():
    with pytest.raises(ValueError, match="endpoints need a"):
        resilient("us", "eu")


def test_a_plain_function_gets_what_can_be_had_without_stopping_it(registry):
    @resilient(US, EU, patience=4, fallback="later", registry=registry)
    def plain(endpoint, prompt):
        return f"[{endpoint.name}] {prompt}"

    kinds = [kind for kind, _ in layers(plain)]

    assert plain("hello") in ("[us] hello", "[eu] hello")
    assert kinds == ["degrade_to", "classified_retry", "failover", "adaptive_limit", "circuit_breaker"]


def test_a_plain_function_is_not_tried_again_after_the_patience(registry, clock):
    asked = []

    @resilient(patience=4, registry=registry)
    def slow():
        asked.append(clock.now())
        clock.advance(3)
        raise ProviderError("model_overloaded")

    with pytest.raises(AIServiceError):
        slow()

    assert len(asked) <= 2


def test_a_plain_function_waits_for_a_place_as_long_as_the_patience_at_most(registry):
    @resilient(patience=4, adaptive_limit={"initial": 5}, registry=registry)
    def plain(): ...

    limit = next(layer.settings for layer in describe(plain).layers if layer.kind == "adaptive_limit")

    assert (limit["max_wait"], limit["initial"]) == (4, 5)


def test_a_plain_function_waits_for_its_quota_as_long_as_the_patience_at_most(registry):
    @resilient(patience=4, rate_limit={"requests_per_minute": 60}, registry=registry)
    def plain_with_quota(): ...

    quota = next(layer.settings for layer in describe(plain_with_quota).layers if layer.kind == "rate_limit")

    assert quota["max_wait"] == 4


async def test_an_error_that_no_retry_mends_is_raised_at_once(registry, clock):
    fn = resilient(registry=registry)(scripted(ProviderError("quota_exceeded")))
    with pytest.raises(AIServiceError):
        await fn()

    assert clock.now() == 0
