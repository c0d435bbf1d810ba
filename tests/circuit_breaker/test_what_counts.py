"""Which outcomes count against a circuit."""

from __future__ import annotations

import pytest

from resilient_ai import (
    NEUTRAL,
    CircuitState,
    ErrorType,
    RejectedResultError,
    Verdict,
    circuit_breaker,
    register_classifier,
)
from tests.circuit_breaker.support import fail
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


@pytest.mark.parametrize("error_type", ["rate_limit", "invalid_request", "authentication", "internal_error"])
async def test_ignore_nothing_counts_every_exception(registry, error_type):
    ask = circuit_breaker("strict", failure_threshold=1, ignore=(), registry=registry)(
        scripted(ProviderError(ErrorType(error_type)))
    )
    await fail(ask, 1, ProviderError)

    assert registry.circuit_breakers["strict"].state is CircuitState.OPEN


@pytest.mark.parametrize(
    "ignore",
    [
        KeyError,
        (KeyError, OSError),
        ErrorType.INTERNAL_ERROR,
        lambda error: isinstance(error, LookupError),
        [ErrorType.TIMEOUT, KeyError],
    ],
)
async def test_ignore_takes_types_error_types_and_predicates(registry, ignore):
    ask = circuit_breaker("lenient", failure_threshold=1, ignore=ignore, registry=registry)(scripted(KeyError("k")))
    await fail(ask, 2, KeyError)

    assert registry.circuit_breakers["lenient"].state is CircuitState.CLOSED


async def test_adding_to_the_default_of_ignore_keeps_all_of_it(registry):
    def blamed(error):
        return Verdict(ErrorType.INTERNAL_ERROR, retryable=False, endpoint_fault=False, blame="request")

    unregister = register_classifier(lambda error: blamed(error) if isinstance(error, LookupError) else None)
    for name, ignore in (("default", NEUTRAL), ("more", (*NEUTRAL, OSError))):
        ask = circuit_breaker(name, failure_threshold=1, ignore=ignore, registry=registry)(scripted(KeyError("k")))
        await fail(ask, 1, KeyError)

        assert registry.circuit_breakers[name].stats().neutral == 1
    unregister()


async def test_a_predicate_that_raises_hides_no_error_and_holds_no_slot(registry, clock):
    ask = circuit_breaker("typo", success_threshold=1, ignore=lambda error: error.nope, registry=registry)(
        scripted(OSError("down"))
    )
    breaker = registry.circuit_breakers["typo"]
    breaker.trip()
    clock.advance(60)
    with pytest.raises(OSError, match="down") as caught:
        await ask()

    assert "raised AttributeError; the failure counts" in caught.value.__notes__[0]
    assert (breaker.state, breaker.stats().probes_in_flight) == (CircuitState.OPEN, 0)


async def test_an_exit_in_a_predicate_holds_no_slot(registry, clock):
    def leave(error):
        raise KeyboardInterrupt

    ask = circuit_breaker("exit", ignore=leave, registry=registry)(scripted(OSError("down")))
    breaker = registry.circuit_breakers["exit"]
    breaker.trip()
    clock.advance(60)
    with pytest.raises(KeyboardInterrupt):
        await ask()

    assert (breaker.state, breaker.stats().probes_in_flight) == (CircuitState.HALF_OPEN, 0)


@pytest.mark.parametrize(
    ("reject", "error"),
    [(lambda answer: answer.nope, AttributeError), (lambda answer: f"no {answer}", TypeError)],
    ids=["raises", "answers something else"],
)
async def test_a_reject_that_is_broken_is_nobodys_failure(registry, clock, reject, error):
    ask = circuit_breaker("typo", failure_threshold=1, reject=reject, registry=registry)(scripted("pong"))
    breaker = registry.circuit_breakers["typo"]
    breaker.trip()
    clock.advance(60)
    with pytest.raises(error) as caught:
        await ask()
    stats = breaker.stats()

    assert (stats.state, stats.probes_in_flight, stats.neutral) == (CircuitState.HALF_OPEN, 0, 1)
    assert "pong" not in str(caught.value)


async def test_a_result_rejected_as_the_callers_mistake_is_neutral(registry):
    ask = circuit_breaker(
        "refused", failure_threshold=1, reject=lambda answer: ErrorType.CONTENT_FILTER, registry=registry
    )(scripted("I cannot help with that"))
    await fail(ask, 2, RejectedResultError)

    assert registry.circuit_breakers["refused"].stats().neutral == 2


async def test_a_rejected_result_is_a_failure_with_the_result_inside(registry):
    ask = circuit_breaker(
        "picky",
        failure_threshold=1,
        reject=lambda answer: ErrorType.INTERNAL_ERROR if answer.startswith("<html") else None,
        registry=registry,
    )(scripted("fine", "<html>secret prompt"))
    assert await ask() == "fine"
    with pytest.raises(RejectedResultError) as caught:
        await ask()

    assert caught.value.result == "<html>secret prompt"
    assert "secret" not in str(caught.value)
    assert registry.circuit_breakers["picky"].state is CircuitState.OPEN
