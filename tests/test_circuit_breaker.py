"""What users of `@circuit_breaker` can rely on."""

from __future__ import annotations

import gc
import threading
from contextlib import aclosing

import anyio
import pytest

from resilient_ai import (
    NEUTRAL,
    CallTimeoutError,
    CircuitOpenError,
    CircuitState,
    Endpoint,
    ErrorType,
    Registry,
    RejectedResultError,
    ResilienceError,
    Verdict,
    circuit_breaker,
    failover,
    register_classifier,
)
from resilient_ai._core.events import CallRejected, CircuitClosed, CircuitHalfOpened, CircuitModeSet, CircuitOpened
from resilient_ai.testing import VirtualClock
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


async def fail(ask, times, error=OSError):
    for _ in range(times):
        with pytest.raises(error):
            await ask()


# -- opening


async def test_it_opens_at_the_threshold_and_then_does_not_call(registry):
    down = scripted(OSError("down"))
    ask = circuit_breaker("openai", failure_threshold=2, registry=registry)(down)
    await fail(ask, 2)
    with pytest.raises(CircuitOpenError, match=r"'openai' is open; next probe allowed in 60\.0 s") as caught:
        await ask()

    assert down.calls == 2
    assert registry.circuit_breakers["openai"].state is CircuitState.OPEN
    assert (caught.value.name, caught.value.reason, caught.value.retry_after) == ("openai", "open", 60.0)
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_success_takes_one_failure_off(registry):
    ask = circuit_breaker("up-and-down", failure_threshold=2, registry=registry)(
        scripted(OSError(), "ok", OSError(), "ok", OSError(), OSError())
    )
    for _ in range(2):
        await fail(ask, 1)
        assert await ask() == "ok"
    await fail(ask, 1)
    assert registry.circuit_breakers["up-and-down"].state is CircuitState.CLOSED
    await fail(ask, 1)

    assert registry.circuit_breakers["up-and-down"].state is CircuitState.OPEN


@pytest.mark.parametrize(
    "error_type",
    ["invalid_request", "context_length", "content_filter", "not_found", "authentication", "permission", "rate_limit"],
)
async def test_the_callers_own_mistakes_and_rate_limits_are_neutral(registry, error_type):
    ask = circuit_breaker("neutral", failure_threshold=1, registry=registry)(
        scripted(ProviderError(ErrorType(error_type)))
    )
    await fail(ask, 3, ProviderError)
    stats = registry.circuit_breakers["neutral"].stats()

    assert stats.state is CircuitState.CLOSED
    assert (stats.total_calls, stats.neutral, stats.total_failures) == (3, 3, 0)


@pytest.mark.parametrize("error_type", ["model_overloaded", "network_error", "timeout", "internal_error"])
async def test_the_providers_failures_count(registry, error_type):
    ask = circuit_breaker("bad", failure_threshold=1, registry=registry)(scripted(ProviderError(ErrorType(error_type))))
    await fail(ask, 1, ProviderError)

    assert registry.circuit_breakers["bad"].state is CircuitState.OPEN


async def test_a_used_up_quota_opens_at_once(registry):
    ask = circuit_breaker("quota", registry=registry)(scripted(ProviderError(ErrorType.QUOTA_EXCEEDED)))
    await fail(ask, 1, ProviderError)

    assert registry.circuit_breakers["quota"].state is CircuitState.OPEN


async def test_the_providers_wait_lengthens_the_period_up_to_the_cap(registry, clock):
    error = ProviderError(ErrorType.MODEL_OVERLOADED, retry_after=100)
    for name, most, period in (("uncapped", None, 100), ("capped", 80, 80)):
        ask = circuit_breaker(name, failure_threshold=1, max_recovery_timeout=most, registry=registry)(scripted(error))
        await fail(ask, 1, ProviderError)

        assert registry.circuit_breakers[name].stats().retry_after == period


async def test_reopening_doubles_the_period_up_to_its_maximum(registry, clock):
    ask = circuit_breaker(
        "growing", failure_threshold=1, recovery_timeout=1, max_recovery_timeout=5, registry=registry
    )(scripted(OSError()))
    periods = []
    for _ in range(4):
        await fail(ask, 1)
        periods.append(registry.circuit_breakers["growing"].stats().retry_after)
        clock.advance(periods[-1])

    assert periods == [1, 2, 4, 5]


async def test_jitter_lengthens_the_period_by_at_most_its_share(registry):
    ask = circuit_breaker("jitter", failure_threshold=1, recovery_timeout=10, recovery_jitter=0.5, registry=registry)(
        scripted(OSError())
    )
    periods = set()
    for _ in range(20):
        await fail(ask, 1)
        periods.add(registry.circuit_breakers["jitter"].stats().retry_after)
        registry.circuit_breakers["jitter"].reset()

    assert len(periods) == 20
    assert all(10 <= period <= 15 for period in periods)


async def test_slow_answers_open_it_with_jitter_too(registry, clock):
    @circuit_breaker("slow", slow_call_seconds=1, minimum_calls=1, recovery_jitter=0.5, registry=registry)
    async def ask() -> None:
        await clock.sleep(2)

    async with clock.autojump():
        await ask()

    assert 60 < registry.circuit_breakers["slow"].stats().retry_after < 90


async def test_without_jitter_chance_is_not_asked(registry):
    before = registry.rng.getstate()
    ask = circuit_breaker("plain", failure_threshold=1, registry=registry)(scripted(OSError()))
    await fail(ask, 1)

    assert registry.rng.getstate() == before


async def test_a_call_over_the_timeout_is_cancelled_and_fails(registry, clock):
    @circuit_breaker("slow", failure_threshold=1, timeout_seconds=5, registry=registry)
    async def ask() -> None:
        await clock.sleep(60)

    async with clock.autojump():
        with pytest.raises(CallTimeoutError, match="'slow' took longer than timeout_seconds=5"):
            await ask()

    assert clock.now() == 5
    assert registry.circuit_breakers["slow"].state is CircuitState.OPEN


async def test_the_callers_own_deadline_is_not_a_timeout(registry, clock):
    @circuit_breaker("patient", failure_threshold=1, timeout_seconds=5, registry=registry)
    async def ask() -> None:
        await clock.sleep(60)

    async with clock.autojump():
        with clock.move_on_after(2) as scope:
            await ask()

    assert scope.cancelled_caught
    assert registry.circuit_breakers["patient"].stats().neutral == 1


async def test_slow_answers_open_it_at_exactly_their_share(registry, clock):
    @circuit_breaker("slow", slow_call_seconds=2, minimum_calls=2, registry=registry)
    async def ask(seconds: float) -> None:
        await clock.sleep(seconds)

    async with clock.autojump():
        await ask(2)
        await ask(3)
    stats = registry.circuit_breakers["slow"].stats()

    assert stats.state is CircuitState.OPEN
    assert (stats.slow, stats.total_calls, stats.total_failures) == (1, 2, 0)


async def test_a_busy_window_of_seconds_counts_every_call(registry):
    ask = circuit_breaker(
        "busy", failure_threshold=None, failure_rate_threshold=1.0, timeout_seconds=None, registry=registry
    )(scripted("ok"))
    for _ in range(10_050):
        await ask()

    assert registry.circuit_breakers["busy"].stats().window_calls == 10_050


# -- what counts


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


def test_a_stream_has_no_result_to_reject(registry):
    async def tokens():
        yield 1

    with pytest.raises(TypeError, match=r"reject= looks at a returned value; .*tokens is an async generator"):
        circuit_breaker("stream", reject=lambda answer: None, registry=registry)(tokens)


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


# -- probing


async def test_probes_close_it_and_the_story_is_told_once(registry, clock, events):
    ask = circuit_breaker("story", failure_threshold=1, recovery_timeout=20, registry=registry)(
        scripted(OSError(), "pong")
    )
    await fail(ask, 1)
    with pytest.raises(CircuitOpenError):
        await ask()
    clock.advance(20)
    for _ in range(4):
        assert await ask() == "pong"

    assert [type(event) for event in events] == [CircuitOpened, CallRejected, CircuitHalfOpened, CircuitClosed]


async def test_callers_beyond_the_probes_are_refused(registry, clock):
    gate = anyio.Event()

    @circuit_breaker("full", success_threshold=2, registry=registry)
    async def ask() -> str:
        await gate.wait()
        return "pong"

    registry.circuit_breakers["full"].trip()
    clock.advance(60)
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(CircuitOpenError, match="half-open and all its probes are in flight") as caught:
            await ask()
        gate.set()

    assert caught.value.reason == "half_open_full"
    assert registry.circuit_breakers["full"].state is CircuitState.CLOSED


async def test_calls_within_a_probe_are_part_of_it_and_need_no_slot_of_their_own(registry, clock):
    """A function that calls another of the same provider: the probes' own calls must not be what keeps it half-open."""
    down = True

    @circuit_breaker("nested", failure_threshold=1, success_threshold=2, registry=registry)
    async def ask() -> str:
        await clock.sleep(1)
        if down:
            raise OSError("down")
        return "ok"

    @circuit_breaker("nested", failure_threshold=1, success_threshold=2, registry=registry)
    async def agent() -> str:
        return await ask() + await ask()

    async with clock.autojump():
        await fail(ask, 1)
        down = False
        clock.advance(60)
        async with anyio.create_task_group() as tasks:
            for _ in range(2):  # as many as there are slots
                tasks.start_soon(agent)
    breaker = registry.circuit_breakers["nested"]

    assert breaker.state is CircuitState.CLOSED
    assert (breaker.stats().rejected, breaker.stats().probes_in_flight) == (0, 0)


async def test_calls_within_a_probing_stream_are_part_of_it_and_its_consumers_calls_are_not(registry, clock):
    shared = {"failure_threshold": 1, "success_threshold": 1, "half_open_max_calls": 1, "registry": registry}
    ask = circuit_breaker("streamed", **shared)(scripted(OSError("down"), "pong"))

    @circuit_breaker("streamed", **shared)
    async def stream():
        yield await ask()
        yield await ask()

    await fail(ask, 1)
    clock.advance(60)
    items = stream()
    first = await anext(items)
    with pytest.raises(CircuitOpenError):  # the only slot is the stream's
        await ask()
    rest = [item async for item in items]
    breaker = registry.circuit_breakers["streamed"]

    assert [first, *rest] == ["pong", "pong"]
    assert breaker.state is CircuitState.CLOSED
    assert breaker.stats().rejected == 1


async def test_a_result_within_a_probe_is_judged_like_any_other(registry, clock):
    empty = circuit_breaker(
        "judged", failure_threshold=1, reject=lambda _: ErrorType.INTERNAL_ERROR, registry=registry
    )(scripted("", ""))

    @circuit_breaker("judged", failure_threshold=1, registry=registry)
    async def agent() -> str:
        return await empty()

    await fail(empty, 1, RejectedResultError)
    clock.advance(60)
    await fail(agent, 1, RejectedResultError)

    assert registry.circuit_breakers["judged"].stats().opened_count == 2


async def test_what_a_probe_left_behind_needs_a_slot_once_the_probe_is_over(registry, clock):
    down = True

    @circuit_breaker("left", failure_threshold=1, success_threshold=2, half_open_max_calls=1, registry=registry)
    async def ask() -> str:
        await clock.sleep(1)
        if down:
            raise OSError("down")
        return "ok"

    async with clock.autojump():
        await fail(ask, 1)
        down = False
        clock.advance(60)
        await ask()  # from here on this context has been a probe's
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await clock.sleep(0.5)
            with pytest.raises(CircuitOpenError):
                await ask()


async def test_a_probe_that_never_ends_cannot_wedge_it_and_still_counts(registry, clock):
    gate = anyio.Event()

    @circuit_breaker("hung", success_threshold=2, half_open_max_calls=1, timeout_seconds=None, registry=registry)
    async def ask(wait: bool) -> str:
        if wait:
            await gate.wait()
        return "pong"

    breaker = registry.circuit_breakers["hung"]
    breaker.trip()
    clock.advance(60)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, True)
        await anyio.wait_all_tasks_blocked()
        clock.advance(60)
        assert await ask(False) == "pong"
        assert breaker.state is CircuitState.HALF_OPEN
        gate.set()

    assert breaker.state is CircuitState.CLOSED


# -- the operator


async def test_forced_open_refuses_until_reset(registry, clock):
    ask = circuit_breaker("ops", registry=registry)(scripted("pong"))
    breaker = registry.circuit_breakers["ops"]
    breaker.force_open()
    clock.advance(1e6)
    with pytest.raises(CircuitOpenError, match="forced open by an operator") as caught:
        await ask()
    assert (caught.value.reason, caught.value.retry_after) == ("forced_open", None)
    breaker.reset()

    assert await ask() == "pong"


async def test_a_probe_in_flight_when_forced_open_changes_nothing(registry, clock):
    gate = anyio.Event()

    @circuit_breaker("ops", success_threshold=1, registry=registry)
    async def ask() -> None:
        await gate.wait()

    breaker = registry.circuit_breakers["ops"]
    breaker.trip()
    clock.advance(60)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        breaker.force_open()
        gate.set()

    assert breaker.state is CircuitState.FORCED_OPEN
    assert breaker.stats().late == 1


async def test_disabled_records_nothing_and_metrics_only_never_opens(registry):
    ask = circuit_breaker("ops", failure_threshold=1, registry=registry)(scripted(OSError()))
    breaker = registry.circuit_breakers["ops"]
    breaker.disable()
    await fail(ask, 3)
    assert breaker.stats().total_calls == 0
    breaker.metrics_only()
    await fail(ask, 3)

    assert breaker.state is CircuitState.METRICS_ONLY
    assert breaker.stats().total_failures == 3


async def test_a_listener_may_read_drive_and_fail_without_harm(registry):
    ask = circuit_breaker("heard", failure_threshold=1, registry=registry)(scripted(OSError(), "pong"))
    breaker = registry.circuit_breakers["heard"]
    heard = []
    breaker.on_transition(lambda event: 1 / 0)
    stop = breaker.on_transition(lambda event: (heard.append((event, breaker.stats())), breaker.force_closed()))
    await fail(ask, 1)

    assert [type(event) for event, _ in heard] == [CircuitOpened, CircuitClosed]
    assert await ask() == "pong"
    stop()
    breaker.force_open()
    assert len(heard) == 2


async def test_mode_changes_are_told(registry, events):
    circuit_breaker("ops", registry=registry)(scripted("pong"))
    breaker = registry.circuit_breakers["ops"]
    breaker.force_open()
    breaker.force_open()
    breaker.reset()

    assert events == [CircuitModeSet("ops", "forced_open"), CircuitModeSet("ops", "reset")]


# -- names and keys


async def test_one_name_is_one_circuit(registry):
    down = circuit_breaker("shared", failure_threshold=1, registry=registry)(scripted(OSError()))
    other = circuit_breaker("shared", failure_threshold=1, registry=registry)(scripted("pong"))
    await fail(down, 1)

    with pytest.raises(CircuitOpenError):
        await other()


def test_one_name_with_two_settings_is_an_error_that_shows_both(registry):
    circuit_breaker("shared", failure_threshold=1, registry=registry)(scripted("pong"))
    with pytest.raises(ValueError, match=r"'shared' already exists.*failure_threshold 1 there, 2 here"):
        circuit_breaker("shared", failure_threshold=2, registry=registry)(scripted("pong"))


async def test_a_key_has_a_circuit_of_its_own(registry):
    @circuit_breaker("tenants", failure_threshold=1, key=lambda tenant: tenant, registry=registry)
    async def ask(tenant: str) -> str:
        if tenant == "a":
            raise OSError
        return "pong"

    with pytest.raises(OSError):
        await ask("a")
    with pytest.raises(CircuitOpenError, match=r"tenants\[a\]"):
        await ask("a")

    assert await ask("b") == "pong"


async def test_idle_keys_go_and_open_ones_stay(registry, clock):
    @circuit_breaker("tenants", failure_threshold=1, key=lambda tenant: tenant, registry=registry)
    async def ask(tenant: str) -> None:
        if tenant == "bad":
            raise OSError

    with pytest.raises(OSError):
        await ask("bad")
    for each in range(50):
        await ask(str(each))
    clock.advance(600)
    await ask("7")
    clock.advance(600)
    await ask("new")

    assert sorted(registry.circuit_breakers) == ["tenants[7]", "tenants[bad]", "tenants[new]"]


async def test_under_a_failover_each_endpoint_has_a_circuit_without_being_told(registry):
    @failover(Endpoint("us"), Endpoint("eu"), strategy="priority", registry=registry)
    @circuit_breaker("ask", failure_threshold=1, registry=registry)
    async def ask(endpoint: Endpoint) -> str:
        if endpoint.name == "us":
            raise OSError
        return endpoint.name

    assert await ask() == "eu"
    assert {name: handle.state.value for name, handle in registry.circuit_breakers.items()} == {
        "ask[us]": "open",
        "ask[eu]": "closed",
    }


async def test_a_call_in_flight_keeps_its_key(registry, clock):
    gate = anyio.Event()

    @circuit_breaker("tenants", failure_threshold=1, timeout_seconds=None, key=lambda tenant: tenant, registry=registry)
    async def ask(tenant: str) -> None:
        if tenant == "long" and clock.now():
            await gate.wait()
            raise OSError

    await ask("long")
    await ask("other")
    clock.advance(890)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fail, lambda: ask("long"), 1)
        await anyio.wait_all_tasks_blocked()
        clock.advance(890)
        await ask("new")
        gate.set()

    assert sorted(registry.circuit_breakers) == ["tenants[long]", "tenants[new]"]
    assert registry.circuit_breakers["tenants[long]"].state is CircuitState.OPEN


async def test_the_key_of_a_method_is_asked_with_its_instance(registry):
    class Client:
        def __init__(self, tenant: str) -> None:
            self.tenant = tenant

        @circuit_breaker("clients", key=lambda self, prompt: f"{self.tenant}/{prompt}", registry=registry)
        async def ask(self, prompt: str) -> str:
            return prompt

    assert await Client("a").ask("x") == await Client("b").ask("x") == "x"
    assert sorted(registry.circuit_breakers) == ["clients[a/x]", "clients[b/x]"]


async def test_open_keys_that_nobody_comes_to_probe_go_when_there_is_no_room_and_others_stay(registry, clock):
    settings = {"failure_threshold": 1, "recovery_timeout": 1_000, "timeout_seconds": None}

    @circuit_breaker("keys", key=lambda key: key, registry=registry, **settings)
    async def ask(key: int) -> None:
        raise OSError

    async def use(keys: range) -> None:
        for key in keys:
            await fail(lambda: ask(key), 1)  # noqa: B023 - called at once

    await use(range(10_500))
    for key, operate in enumerate(["force_open", "disable", "metrics_only"]):
        getattr(registry.circuit_breakers[f"keys[{key}]"], operate)()
    clock.advance(950)
    await use(range(10_500, 11_600))
    assert len(registry.circuit_breakers) == 11_600  # all are open now
    clock.advance(50 + 900)
    await use(range(11_600, 12_700))
    names = set(registry.circuit_breakers)

    assert len(names) <= 3 + 2_200
    assert {"keys[0]", "keys[1]", "keys[2]"} <= names  # what an operator set stays in any case
    assert {f"keys[{key}]" for key in range(10_500, 11_600)} <= names  # not due for as long


async def test_a_key_that_cannot_be_told_is_an_error_of_the_call(registry):
    @circuit_breaker("tenants", key=lambda tenant: tenant["id"], registry=registry)
    async def ask(tenant: dict) -> None: ...

    call = ask({})
    with pytest.raises(KeyError):
        await call

    assert len(registry.circuit_breakers) == 0


async def test_keys_cannot_fill_the_memory(registry):
    @circuit_breaker("keys", key=lambda key: key, timeout_seconds=None, registry=registry)
    async def ask(key: int) -> None: ...

    for key in range(10_500):
        await ask(key)

    assert len(registry.circuit_breakers) <= 10_000


# -- streams


async def test_a_stream_counts_when_it_ends(registry):
    @circuit_breaker("stream", failure_threshold=1, registry=registry)
    async def tokens(break_at: int | None = None):
        for number in range(3):
            if number == break_at:
                raise OSError("cut")
            yield number

    stats = registry.circuit_breakers["stream"].stats
    assert [token async for token in tokens()] == [0, 1, 2]
    assert (stats().total_calls, stats().total_failures) == (1, 0)
    async with aclosing(tokens()) as stream:
        async for _ in stream:
            break
    assert (stats().total_calls, stats().neutral) == (2, 1)
    with pytest.raises(OSError, match="cut"):
        _ = [token async for token in tokens(2)]

    assert stats().state is CircuitState.OPEN


async def test_a_stream_that_cannot_begin_holds_no_slot(registry, clock):
    @circuit_breaker("stream", registry=registry)
    async def tokens(prompt: str):
        yield prompt

    breaker = registry.circuit_breakers["stream"]
    breaker.trip()
    clock.advance(60)
    with pytest.raises(TypeError, match="prompt"):
        _ = [token async for token in tokens()]

    assert breaker.stats().probes_in_flight == 0


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit, anyio.get_cancelled_exc_class])
@pytest.mark.parametrize("when", ["closed", "half_open"])
@pytest.mark.parametrize("after", [0, 2])
async def test_an_exit_in_a_stream_is_neutral_and_returns_the_slot(registry, clock, leaving, when, after):
    @circuit_breaker("stream", failure_threshold=1, registry=registry)
    async def tokens():
        for number in range(3):
            if number == after:
                if leaving is anyio.get_cancelled_exc_class:
                    scope.cancel()
                    await anyio.lowlevel.checkpoint()
                raise leaving
            yield number

    breaker = registry.circuit_breakers["stream"]
    if when == "half_open":
        breaker.trip()
        clock.advance(60)
    with anyio.CancelScope() as scope:
        if leaving is anyio.get_cancelled_exc_class:
            _ = [token async for token in tokens()]
        else:
            with pytest.raises(leaving):
                _ = [token async for token in tokens()]
    stats = breaker.stats()

    assert (stats.probes_in_flight, stats.neutral, stats.total_failures) == (0, 1, 0)


@pytest.mark.parametrize("throw", [GeneratorExit, KeyboardInterrupt, RuntimeError])
async def test_a_consumer_that_leaves_a_probing_stream_returns_the_slot(registry, clock, throw):
    closed = []

    @circuit_breaker("stream", failure_threshold=1, registry=registry)
    async def tokens():
        try:
            yield 1
            yield 2
        finally:
            await anyio.lowlevel.checkpoint()
            closed.append(True)

    breaker = registry.circuit_breakers["stream"]
    breaker.trip()
    clock.advance(60)
    stream = tokens()
    await anext(stream)
    assert breaker.stats().probes_in_flight == 1
    with pytest.raises(throw):
        await stream.athrow(throw)
    stats = breaker.stats()

    assert closed == [True]
    assert (stats.probes_in_flight, stats.neutral, stats.state) == (0, 1, CircuitState.HALF_OPEN)


async def test_streams_that_end_well_close_it_and_their_first_item_tells_how_slow_they_were(registry, clock):
    @circuit_breaker("stream", success_threshold=2, slow_call_seconds=5, minimum_calls=99, registry=registry)
    async def tokens(first: float):
        await clock.sleep(first)
        yield 1
        await clock.sleep(20)
        yield 2

    breaker = registry.circuit_breakers["stream"]
    breaker.trip()
    clock.advance(60)
    async with clock.autojump():
        for first in (5, 6):
            assert breaker.state is not CircuitState.CLOSED
            assert [token async for token in tokens(first)] == [1, 2]

    assert breaker.state is CircuitState.CLOSED
    assert (breaker.stats().slow, breaker.stats().p95) == (1, 6)


async def test_a_refused_stream_is_not_begun(registry):
    begun = []

    @circuit_breaker("stream", registry=registry)
    async def tokens():
        begun.append(True)
        yield 1

    registry.circuit_breakers["stream"].force_open()
    with pytest.raises(CircuitOpenError):
        _ = [token async for token in tokens()]

    assert not begun


async def test_a_stream_has_one_circuit_per_key(registry):
    @circuit_breaker("stream", failure_threshold=1, key=lambda tenant: tenant, registry=registry)
    async def tokens(tenant: str):
        if tenant == "a":
            raise OSError
        yield tenant

    with pytest.raises(OSError):
        _ = [token async for token in tokens("a")]

    assert [token async for token in tokens("b")] == ["b"]
    assert registry.circuit_breakers["stream[a]"].state is CircuitState.OPEN
    assert registry.circuit_breakers["stream[b]"].state is CircuitState.CLOSED


async def test_what_the_consumer_throws_into_a_stream_is_not_the_providers_failure(registry):
    closed = []

    @circuit_breaker("stream", failure_threshold=1, registry=registry)
    async def tokens():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    stream = tokens()
    await anext(stream)
    with pytest.raises(RuntimeError, match="mine"):
        await stream.athrow(RuntimeError("mine"))

    assert closed == [True]
    assert registry.circuit_breakers["stream"].stats().neutral == 1


async def test_timeouts_of_a_stream_bound_the_first_item_and_each_gap(registry, clock):
    @circuit_breaker("gaps", timeout_seconds=10, idle_timeout_seconds=2, failure_threshold=9, registry=registry)
    async def tokens(first: float, gap: float):
        await clock.sleep(first)
        yield 1
        await clock.sleep(gap)
        yield 2

    async with clock.autojump():
        assert [token async for token in tokens(9, 1)] == [1, 2]
        with pytest.raises(CallTimeoutError, match="timeout_seconds=10"):
            _ = [token async for token in tokens(11, 1)]
        seen = []
        with pytest.raises(CallTimeoutError, match="timeout_seconds=2"):
            async for token in tokens(1, 3):
                seen.append(token)  # noqa: PERF401 - what came before the error counts

    assert seen == [1]
    assert registry.circuit_breakers["gaps"].stats().total_failures == 2


# -- settings and threads


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"failure_threshold": 0}, "failure_threshold must be an integer of at least 1 or None, got 0"),
        ({"failure_threshold": 1.5}, "failure_threshold must be an integer"),
        ({"recovery_timeout": -1}, "recovery_timeout must be a number of at least 0, got -1"),
        ({"recovery_timeout": float("nan")}, "recovery_timeout must be a number of at least 0, got nan"),
        ({"success_threshold": 0}, "success_threshold must be an integer of at least 1, got 0"),
        ({"timeout_seconds": 0}, "timeout_seconds must be a number above 0 or None, got 0"),
        ({"failure_rate_threshold": 1.1}, "failure_rate_threshold must be a number above 0 up to 1 or None, got 1.1"),
        ({"max_recovery_timeout": 5}, "max_recovery_timeout must be a number of at least 60 or None, got 5"),
        ({"failure_threshold": None}, "a circuit needs a rule to open by"),
        ({"ignore": int}, "ignore takes exception types, ErrorTypes or predicates, got the class int"),
        ({"ignore": "timeout"}, "ignore takes exception types, ErrorTypes or predicates, got 'timeout'"),
        ({"ignore": None}, "ignore takes exception types, ErrorTypes or predicates, got None"),
        ({"key": "tenant"}, "key must be a plain callable or None, got 'tenant'"),
        ({"key": fail}, "key must be a plain callable or None, got <function fail"),
        ({"reject": ErrorType.TIMEOUT}, "reject must be a plain callable or None, got"),
        ({"reject": fail}, "reject must be a plain callable or None, got <function fail"),
        ({"ignore": ["timeout"]}, "ignore takes exception types, ErrorTypes or predicates, got 'timeout'"),
        ({"name": 5}, "name of a circuit_breaker must be a non-empty string, got 5; settings are given by keyword"),
        ({"name": ""}, "name of a circuit_breaker must be a non-empty string, got ''"),
    ],
)
def test_a_bad_setting_is_a_value_error_at_decoration(registry, settings, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        circuit_breaker(registry=registry, **settings)(scripted("pong"))


def test_counts_are_exact_after_many_threads_and_loops():
    registry = Registry(listeners=())

    @circuit_breaker("hammer", failure_threshold=10**9, timeout_seconds=None, registry=registry)
    async def ask(number: int) -> None:
        await anyio.lowlevel.checkpoint()
        if number % 3 == 0:
            raise OSError

    async def caller(start: int) -> None:
        for number in range(start, start + 150):
            try:
                await ask(number)
            except OSError:
                continue

    async def run() -> None:
        async with anyio.create_task_group() as tasks:
            for start in range(4):
                tasks.start_soon(caller, start)

    threads = [
        threading.Thread(target=anyio.run, args=(run,), kwargs={"backend": backend})
        for backend in ["asyncio", "trio"] * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = registry.circuit_breakers["hammer"].stats()

    assert stats.total_calls == 8 * 4 * 150
    assert stats.total_failures == 8 * sum(
        number % 3 == 0 for start in range(4) for number in range(start, start + 150)
    )


async def test_nothing_of_a_good_call_stays_behind_in_cycles(registry):
    ask = circuit_breaker("clean", registry=registry)(scripted("pong"))
    await ask()
    gc.collect()
    for _ in range(50):
        await ask()

    assert gc.collect() < 50


def test_every_refusal_is_a_resilience_error():
    assert issubclass(CircuitOpenError, ResilienceError)


@pytest.mark.parametrize("start", [0.0, 0.3, 1e6 + 0.7])
async def test_a_deadline_is_reached_however_the_time_was_added_up(start):
    """Ten steps of a tenth are a little less than one, for a float; nobody is refused for that."""
    clock = VirtualClock(start)
    registry = Registry(clock=clock, listeners=())
    gate = anyio.Event()

    @circuit_breaker("sums", recovery_timeout=1, success_threshold=1, timeout_seconds=None, registry=registry)
    async def ask(wait: bool) -> str:
        if wait:
            await gate.wait()
        return "pong"

    def a_second_passes():
        for _ in range(10):
            clock.advance(0.1)

    breaker = registry.circuit_breakers["sums"]
    breaker.trip()
    a_second_passes()
    assert breaker.stats().retry_after == 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, True)
        await anyio.wait_all_tasks_blocked()
        a_second_passes()  # the lease of the probe is over as well

        assert await ask(False) == "pong"
        gate.set()
    assert breaker.state is CircuitState.CLOSED


async def test_whoever_sleeps_retry_after_gets_in(registry, clock):
    ask = circuit_breaker("patient", recovery_timeout=0.7, success_threshold=9, registry=registry)(scripted("pong"))
    breaker = registry.circuit_breakers["patient"]
    for step in range(50):
        breaker.reset()
        breaker.trip()
        clock.advance(0.013 * step)
        with pytest.raises(CircuitOpenError) as caught:
            await ask()
        clock.advance(caught.value.retry_after)

        assert await ask() == "pong"


async def test_good_answers_are_remembered_within_bounds(registry):
    ask = circuit_breaker("busy", timeout_seconds=None, registry=registry)(scripted("pong"))
    breaker = registry.circuit_breakers["busy"]
    for _ in range(1_000):
        await ask()

    assert breaker.stats().total_calls == 1_000
    assert len(breaker.circuit.moments) <= 400


async def test_the_failure_that_opened_it_keeps_the_notes_of_a_group(registry):
    @circuit_breaker("group", failure_threshold=1, registry=registry)
    async def ask():
        group = ExceptionGroup("two regions", [OSError("east"), OSError("west")])
        group.add_note("asked in this order")
        raise group

    with pytest.raises(ExceptionGroup):
        await ask()
    gc.collect()
    with pytest.raises(CircuitOpenError) as refused:
        await ask()

    cause = refused.value.__cause__
    assert cause.__notes__[0] == "asked in this order"
    assert "kept without its frames" in cause.__notes__[-1]
    assert cause.__traceback__ is None
