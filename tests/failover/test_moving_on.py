"""Which failures move on to another endpoint."""

from __future__ import annotations

import pickle

import pytest

from resilient_ai import AllEndpointsFailedError, Endpoint, ErrorType, RejectedResultError
from resilient_ai.types import EndpointState
from tests.failover.support import AP, EU, US, RefusalError


async def test_a_failure_moves_on_at_once_and_each_endpoint_is_asked_once(over, regions):
    ask = over(US, EU, AP)
    regions.faults |= {"us": OSError("down"), "eu": TimeoutError()}

    assert await ask() == "ap: hi"
    assert regions.was_asked() == ["us", "eu", "ap"]


async def test_the_callers_own_mistake_is_raised_as_it_is_from_the_first_endpoint(over, regions, registry):
    ask = over(US, EU)
    regions.faults["us"] = mistake = RefusalError(400, code="invalid_request_error")

    with pytest.raises(RefusalError) as caught:
        await ask()

    assert caught.value is mistake
    assert regions.was_asked() == ["us"]
    assert registry.endpoints["us"].stats().failures == 0


async def test_when_all_have_failed_the_error_names_each_with_its_reason(over, regions):
    ask = over(US, EU)
    regions.faults |= {"us": OSError("the prompt"), "eu": RefusalError(401)}

    with pytest.raises(
        AllEndpointsFailedError, match=r"us: network_error \(OSError\), eu: authentication \(RefusalError\)"
    ) as all_failed:
        await ask()

    assert all_failed.value.errors == regions.faults
    assert all_failed.value.__cause__ is regions.faults["eu"]
    assert "the prompt" not in str(all_failed.value)
    assert str(pickle.loads(pickle.dumps(all_failed.value))) == str(all_failed.value)


async def test_max_endpoints_bounds_how_many_are_asked(over, regions):
    ask = over(US, EU, AP, max_endpoints=2)
    regions.faults |= {"us": OSError(), "eu": OSError()}

    with pytest.raises(AllEndpointsFailedError) as all_failed:
        await ask()

    assert list(all_failed.value.errors) == ["us", "eu"]
    assert await ask() == "ap: hi"


async def test_an_error_that_nothing_recognises_moves_on_and_is_raised_itself_if_every_endpoint_gives_one(
    over, regions, registry
):
    ask = over(US, EU)
    regions.faults |= {"us": RuntimeError("no choices"), "eu": RuntimeError("no content")}
    with pytest.raises(RuntimeError):
        await ask()
    blamed = [endpoint.stats().failures for endpoint in registry.endpoints.values()]
    del regions.faults["eu"]
    answers = [await ask() for _ in range(2)]

    assert blamed == [0, 0]
    assert answers == ["eu: hi"] * 2
    assert registry.endpoints["us"].stats().state is EndpointState.RESTING


async def test_a_result_that_reject_calls_a_failure_moves_on(over, regions):
    ask = over(US, EU, reject=lambda result: ErrorType.CONTENT_FILTER if result.startswith("us") else None)
    with pytest.raises(RejectedResultError):
        await ask()
    broken = over(US, EU, name="b", reject=lambda result: ErrorType.INTERNAL_ERROR if result[:2] == "us" else None)

    assert await broken() == "eu: hi"


@pytest.mark.parametrize("settings", [{}, {"hedge_after": 1.0}, {"strategy": lambda endpoints: endpoints[0]}])
@pytest.mark.parametrize("verdict", [True, "timeout", ValueError("a bug in it")], ids=["bool", "str", "raises"])
async def test_a_reject_that_is_wrong_itself_is_told_at_once_and_no_endpoints_failure(
    over, regions, registry, verdict, settings
):
    def reject(_result):
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    ask = over(US, EU, reject=reject, **settings)
    own = isinstance(verdict, Exception)
    complaint = "a bug in it" if own else r"reject of '.*ask' must return an ErrorType or None, got a (bool|str)"
    with pytest.raises(ValueError if own else TypeError, match=complaint):
        await ask()

    assert len(regions.was_asked()) == 1
    assert [(each.failures, each.in_flight, each.state.value) for each in registry.stats()["endpoint"].values()] == (
        [(0, 0, "up")] * 2
    )


async def test_a_long_request_moves_only_to_an_endpoint_with_a_larger_window(over, regions, registry):
    small, same, large = (Endpoint(f"{size}k", context_window=size * 1000) for size in (8, 8.0, 128))
    ask = over(small, same, EU, large, strategy="priority")
    regions.faults["8k"] = RefusalError(400, code="context_length_exceeded")

    assert await ask() == "128k: hi"
    assert regions.was_asked() == ["8k", "128k"]
    assert registry.endpoints["8k"].stats().state is EndpointState.UP


async def test_a_long_request_without_a_larger_window_is_the_callers_error(over, regions):
    ask = over(US, EU)
    regions.faults["us"] = RefusalError(400, code="context_length_exceeded")

    with pytest.raises(RefusalError):
        await ask()

    assert regions.was_asked() == ["us"]


async def test_a_filtered_request_moves_only_to_another_provider(over, regions):
    one, two = (Endpoint(f"azure-{number}", provider="azure") for number in (1, 2))
    other = Endpoint("claude", provider="anthropic")
    ask = over(one, two, other, strategy="priority")
    regions.faults["azure-1"] = RefusalError(400, code="content_filter")

    assert await ask() == "claude: hi"
    assert regions.was_asked() == ["azure-1", "claude"]


async def test_a_call_that_must_not_run_twice_moves_on_only_if_it_was_not_processed(over, regions):
    ask = over(US, EU, strategy="priority", idempotent=False)
    regions.faults["us"] = RefusalError(429)
    moved = await ask()
    regions.faults |= {"us": TimeoutError(), "eu": TimeoutError()}
    regions.was_asked()
    with pytest.raises(TimeoutError):
        await ask()

    assert moved == "eu: hi"
    assert regions.was_asked() == ["eu"]


async def test_idempotent_may_be_said_of_each_call(over, regions):
    ask = over(US, EU, strategy="priority", idempotent=lambda prompt: not prompt.startswith("book"))
    regions.faults["us"] = TimeoutError()
    with pytest.raises(TimeoutError):
        await ask("book a flight")

    assert await ask("tell a joke") == "eu: tell a joke"
