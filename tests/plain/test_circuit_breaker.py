"""A circuit does for plain functions what it does for async ones."""

from __future__ import annotations

import pytest

from resilient_ai import CircuitOpenError, CircuitState, ErrorType, RejectedResultError, circuit_breaker
from resilient_ai.events import CallRejected, CircuitClosed, CircuitHalfOpened, CircuitOpened
from tests.helpers import ProviderError

pytestmark = pytest.mark.usefixtures("provider_errors")


def fail(caller, ask, times, error=OSError):
    for _ in range(times):
        with pytest.raises(error):
            caller.call(ask)


def test_it_opens_refuses_probes_and_closes(caller, registry, clock, events):
    down = caller.scripted(OSError("down"), OSError("down"), "pong", "pong")
    ask = circuit_breaker("openai", failure_threshold=2, success_threshold=2, registry=registry)(down)
    fail(caller, ask, 2)
    with pytest.raises(CircuitOpenError, match=r"'openai' is open; next probe allowed in 60\.0 s") as caught:
        caller.call(ask)
    clock.advance(60)
    answers = [caller.call(ask), caller.call(ask)]

    assert caught.value.__cause__.class_name == "OSError"
    assert answers == ["pong", "pong"]
    assert len(down.calls) == 4
    assert [type(event) for event in events] == [CircuitOpened, CallRejected, CircuitHalfOpened, CircuitClosed]


def test_a_failed_probe_opens_it_again(caller, registry, clock):
    ask = circuit_breaker("openai", failure_threshold=1, registry=registry)(caller.scripted(OSError()))
    fail(caller, ask, 1)
    clock.advance(60)
    fail(caller, ask, 1)

    assert registry.circuit_breakers["openai"].state is CircuitState.OPEN


@pytest.mark.parametrize("kind", ["invalid_request", "authentication", "rate_limit", "invalid_output"])
def test_what_says_nothing_about_the_provider_is_neutral(caller, registry, kind):
    ask = circuit_breaker("openai", failure_threshold=1, registry=registry)(caller.scripted(ProviderError(kind)))
    fail(caller, ask, 3, ProviderError)

    stats = registry.circuit_breakers["openai"].stats()
    assert (stats.state, stats.neutral, stats.total_failures) == (CircuitState.CLOSED, 3, 0)


def test_each_key_has_a_circuit(caller, registry):
    def ask(tenant):
        if tenant == "broken":
            raise OSError
        return tenant

    guarded = circuit_breaker("by tenant", failure_threshold=1, key=lambda tenant: tenant, registry=registry)(
        caller.function(ask)
    )
    with pytest.raises(OSError):
        caller.call(guarded, "broken")
    with pytest.raises(CircuitOpenError):
        caller.call(guarded, "broken")

    assert caller.call(guarded, "well") == "well"


def test_a_rejected_result_is_a_failure(caller, registry):
    def empty(answer):
        return None if answer else ErrorType.INTERNAL_ERROR

    ask = circuit_breaker("openai", failure_threshold=1, reject=empty, registry=registry)(caller.scripted(""))
    with pytest.raises(RejectedResultError):
        caller.call(ask)

    assert registry.circuit_breakers["openai"].state is CircuitState.OPEN


def test_slow_calls_open_it_though_nothing_times_them_out(registry, clock):
    @circuit_breaker(
        "slow",
        failure_threshold=None,
        slow_call_seconds=5,
        slow_call_rate_threshold=1.0,
        minimum_calls=2,
        registry=registry,
    )
    def ask():
        clock.advance(40)
        return "late"

    answers = [ask(), ask()]

    assert answers == ["late", "late"]
    assert registry.circuit_breakers["slow"].state is CircuitState.OPEN


def test_a_call_within_a_probe_is_part_of_it(caller, registry, clock):
    ask = circuit_breaker("nested", failure_threshold=1, half_open_max_calls=1, success_threshold=1, registry=registry)
    down = ask(caller.scripted(OSError()))
    fail(caller, down, 1)
    clock.advance(60)
    inner = ask(caller.scripted("inner"))

    def outer():
        return inner() if caller.backend == "threads" else "inner"

    assert caller.call(ask(caller.function(outer))) == "inner"
    assert registry.circuit_breakers["nested"].state is CircuitState.CLOSED


# -- one state for both


async def test_async_and_plain_functions_share_a_circuit(registry):
    settings = {"failure_threshold": 2, "registry": registry}

    @circuit_breaker("openai", **settings)
    def ask():
        raise OSError

    @circuit_breaker("openai", timeout_seconds=5, **settings)
    async def ask_async():
        raise OSError

    with pytest.raises(OSError):
        ask()
    with pytest.raises(OSError):
        await ask_async()

    for call in (ask, ask_async):
        with pytest.raises(CircuitOpenError):
            if (awaitable := call()) is not None:
                await awaitable


def test_they_need_not_agree_on_timeouts_in_either_order_and_async_ones_still_must(registry):
    def ask(): ...
    async def ask_async(): ...

    circuit_breaker("one", registry=registry)(ask)
    circuit_breaker("one", timeout_seconds=5, registry=registry)(ask_async)
    circuit_breaker("one", registry=registry)(ask)

    with pytest.raises(ValueError, match="timeout_seconds 5 there, 6 here"):
        circuit_breaker("one", timeout_seconds=6, registry=registry)(ask_async)
    with pytest.raises(ValueError, match="failure_threshold 5 there, 6 here"):
        circuit_breaker("one", failure_threshold=6, registry=registry)(ask)


@pytest.mark.parametrize("setting", ["timeout_seconds", "idle_timeout_seconds"])
def test_a_timeout_that_was_written_down_is_an_error_even_if_it_is_the_default(registry, setting):
    def ask(): ...

    with pytest.raises(ValueError, match=rf"{setting}=30\.0 cannot stop a plain function; leave it out"):
        circuit_breaker("one", registry=registry, **{setting: 30.0})(ask)

    circuit_breaker("one", registry=registry, **{setting: None})(ask)
