"""What an operator, a listener and many threads can rely on."""

from __future__ import annotations

import gc
import random
import signal
import threading
import traceback
import weakref
from contextlib import suppress
from functools import partial

import anyio
import pytest

from resilient_ai import CircuitBreaker, CircuitOpenError, CircuitState, ErrorType, Registry, circuit_breaker
from resilient_ai._circuit_breaker.config import CircuitConfig
from resilient_ai._classification.classify import verdict
from resilient_ai._core.events import (
    CallRejected,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitModeSet,
    CircuitOpened,
    CircuitWouldOpen,
)
from tests.helpers import interleaved

FAULT = verdict(ErrorType.INTERNAL_ERROR)


def handle(registry: Registry, **settings: object) -> CircuitBreaker:
    return CircuitBreaker("openai", CircuitConfig(**settings), registry)


def fail(breaker: CircuitBreaker, now: float) -> None:
    breaker.failed(breaker.admit(now), now, 0.1, OSError("down"), FAULT)


# -- listeners


def test_listeners_hear_one_order_though_one_of_them_drives_the_circuit(registry):
    breaker, heard = handle(registry, failure_threshold=1), []
    breaker.on_transition(lambda event: breaker.force_closed() if isinstance(event, CircuitOpened) else None)
    breaker.on_transition(lambda event: heard.append((type(event), breaker.state)))
    fail(breaker, 0)

    assert heard == [(CircuitOpened, CircuitState.CLOSED), (CircuitClosed, CircuitState.CLOSED)]


def test_a_call_that_is_refused_while_another_thread_closes_the_circuit_hears_of_no_wait_below_zero():
    breaker = handle(Registry(listeners=()), failure_threshold=1, recovery_timeout=60)
    fail(breaker, 100)
    breaker.force_closed()  # after the caller has seen that it is shut

    assert breaker.refusal(101).retry_after == 0


def test_a_listener_may_wait_for_another_thread_that_uses_the_circuit(registry):
    breaker, waited = handle(registry), []

    def ask_elsewhere(event):
        thread = threading.Thread(target=breaker.stats, daemon=True)
        thread.start()
        thread.join(timeout=10)
        waited.append(thread.is_alive())

    breaker.on_transition(ask_elsewhere)
    breaker.trip()

    assert waited == [False]


def test_a_listener_that_undoes_what_it_hears_cannot_hold_a_call_for_ever(registry):
    breaker, heard = handle(registry, failure_threshold=1), []

    def fight(event):
        heard.append(event)
        if isinstance(event, CircuitOpened):
            breaker.force_closed()
        else:
            breaker.trip()

    breaker.on_transition(fight)
    fail(breaker, 0)

    assert len(heard) == 100


def test_an_event_shows_what_was_when_it_happened(registry):
    breaker, heard = handle(registry, failure_threshold=2, recovery_timeout=20), []
    breaker.on_transition(lambda event: (breaker.reset(), heard.append(event)))
    fail(breaker, 0)
    fail(breaker, 0)

    assert heard[0] == CircuitOpened("openai", 2, "failure count reached 2", 20.0)
    assert heard[1] == CircuitModeSet("openai", "reset")


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
def test_an_exit_in_a_listener_gives_the_probes_slot_back_and_silences_nobody(registry, clock, leaving):
    breaker, heard = handle(registry), []

    def leave(event):
        if isinstance(event, CircuitHalfOpened):
            raise leaving

    breaker.trip()
    breaker.on_transition(leave)
    breaker.on_transition(heard.append)
    clock.advance(60)
    with pytest.raises(leaving):
        breaker.admit(clock.now())
    assert breaker.stats().probes_in_flight == 0
    breaker.force_open()

    assert heard == [CircuitModeSet("openai", "forced_open")]


def test_a_listener_that_has_left_hears_nothing_more_and_takes_no_other_along(registry):
    breaker, heard = handle(registry), []
    hear = heard.append
    leave = breaker.on_transition(hear)
    breaker.on_transition(hear)
    leave()
    leave()
    breaker.trip()

    assert [type(event) for event in heard] == [CircuitOpened]


def test_a_refusal_tells_why_and_how_long(registry, clock, events):
    breaker = handle(registry, success_threshold=1)
    breaker.trip()
    clock.advance(20)
    with suppress(CircuitOpenError):
        breaker.admit(clock.now())
    clock.advance(40)
    breaker.admit(clock.now())
    with suppress(CircuitOpenError):
        breaker.admit(clock.now())
    breaker.force_open()
    with suppress(CircuitOpenError):
        breaker.admit(clock.now())

    assert [event for event in events if isinstance(event, CallRejected)] == [
        CallRejected("openai", "open", 40.0),
        CallRejected("openai", "half_open_full", 60.0),
        CallRejected("openai", "forced_open", None),
    ]


# -- the operator


def test_closed_by_force_starts_the_counts_from_zero_even_when_closed_and_silently_then(registry, events):
    breaker = handle(registry, failure_threshold=2, failure_rate_threshold=0.5)
    straggler = breaker.admit(0)
    fail(breaker, 0)
    breaker.force_closed()
    assert (breaker.stats().current_failure_count, breaker.stats().window_calls) == (0, 0)
    breaker.failed(straggler, 0, 0, OSError(), FAULT)

    assert (breaker.state, breaker.stats().late, events) == (CircuitState.CLOSED, 1, [])


@pytest.mark.parametrize("operate", ["force_open", "disable", "metrics_only"])
def test_what_an_operator_set_cannot_be_tripped(registry, operate):
    breaker = handle(registry)
    getattr(breaker, operate)()
    before = breaker.state
    with pytest.raises(ValueError, match=r"cannot be tripped; call \.reset\(\) first"):
        breaker.trip()

    assert breaker.state is before


def test_tripping_twice_is_one_opening(registry, clock, events):
    breaker = handle(registry)
    breaker.trip()
    clock.advance(10)
    breaker.trip()

    assert len(events) == breaker.stats().opened_count == 1
    assert breaker.stats().retry_after == 50


def test_the_repr_and_the_row_say_when_a_probe_may_run(registry, clock):
    breaker = handle(registry)
    assert repr(breaker) == "<CircuitBreaker 'openai' closed: 0 calls, 0 failed>"
    breaker.trip()
    assert breaker.row().state == "open, probe in 60.0 s"
    clock.advance(60)
    assert breaker.row().state == "open, probe due"
    breaker.force_open()

    assert breaker.row().state == "forced-open"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_a_signal_handler_may_read_the_circuit_at_any_moment():
    """A lock that the interrupted thread holds itself would hang it here for ever."""
    breaker, seen = handle(Registry(listeners=()), failure_threshold=10**9), []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(breaker.stats()))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
    try:
        while len(seen) < 50:
            fail(breaker, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert breaker.stats().total_failures >= seen[-1].total_failures >= seen[0].total_failures


def test_a_refusal_names_only_what_opened_it_this_time(registry):
    breaker, error = handle(registry, failure_threshold=1), OSError("down")
    breaker.failed(breaker.admit(0), 0, 0.1, error, FAULT)
    with pytest.raises(CircuitOpenError) as by_failure:
        breaker.admit(0)
    breaker.force_closed()
    breaker.trip()
    with pytest.raises(CircuitOpenError) as by_operator:
        breaker.admit(0)

    assert by_failure.value.__cause__ is error
    assert by_operator.value.__cause__ is None


def test_a_refusal_names_what_failed_last_while_probes_are_in_flight_and_after_one_failed(registry):
    breaker, first, second = handle(registry, failure_threshold=1, success_threshold=1), OSError("1"), OSError("2")
    breaker.failed(breaker.admit(0), 0, 0.1, first, FAULT)
    probe = breaker.admit(60)
    with pytest.raises(CircuitOpenError) as while_probing:
        breaker.admit(60)
    breaker.failed(probe, 60, 0.1, second, FAULT)
    with pytest.raises(CircuitOpenError) as after:
        breaker.admit(60)

    assert (while_probing.value.reason, while_probing.value.__cause__) == ("half_open_full", first)
    assert after.value.__cause__ is second


class SDKError(Exception):
    """Like the error of an SDK, a class written in Python."""

    def __init__(self, message: str, *, body: object) -> None:
        super().__init__(message)
        self.body = body


class Prompt:
    """Something in a frame that an error came through."""


def opened_by(breaker, ask):
    """Open a circuit with the error of a function that has a prompt in its frame; a weak reference to that."""
    prompt = Prompt()
    kept = weakref.ref(prompt)
    try:
        ask(prompt)
    except Exception as error:
        breaker.failed(breaker.admit(0), 0, 0.1, error, FAULT)
    return kept


def cause_of_a_refusal(breaker):
    with pytest.raises(CircuitOpenError) as caught:
        breaker.admit(0)
    return caught.value.__cause__


def sdk_error(prompt):
    raise SDKError("overloaded", body={"code": 529})


def sdk_error_with_causes(prompt):
    try:
        try:
            raise OSError("reset")
        except OSError as below:
            raise SDKError("connection", body=None) from below
    except SDKError:
        raise SDKError("overloaded", body={"code": 529})  # noqa: B904 - the chain is wanted as it comes


def sdk_errors_together(prompt):
    try:
        sdk_error(prompt)
    except SDKError as error:
        raise ExceptionGroup("several", [error, OSError("reset")]) from None


@pytest.mark.parametrize("ask", [sdk_error, sdk_error_with_causes, sdk_errors_together])
def test_a_circuit_keeps_no_frame_of_the_failure_that_opened_it(registry, ask):
    breaker = handle(registry, failure_threshold=1)
    prompt = opened_by(breaker, ask)
    gc.collect()
    cause = cause_of_a_refusal(breaker)

    assert prompt() is None
    assert cause.__traceback__ is None
    assert f", in {ask.__name__}" in cause.__notes__[-1]
    assert "Prompt" not in "".join(traceback.format_exception(cause))


def test_what_it_keeps_says_all_that_the_failure_said(registry):
    breaker = handle(registry, failure_threshold=1)
    opened_by(breaker, sdk_error_with_causes)
    gc.collect()
    cause = cause_of_a_refusal(breaker)

    assert (type(cause), str(cause), cause.body) == (SDKError, "overloaded", {"code": 529})
    assert [str(cause.__context__), str(cause.__context__.__cause__)] == ["connection", "reset"]


def test_a_failure_that_somebody_has_is_named_itself_with_its_traceback(registry):
    breaker = handle(registry, failure_threshold=1)
    with pytest.raises(SDKError) as caught:
        sdk_error("hi")
    breaker.failed(breaker.admit(0), 0, 0.1, caught.value, FAULT)
    before = caught.value.__traceback__

    assert cause_of_a_refusal(breaker) is caught.value
    assert caught.value.__traceback__ is before
    assert not hasattr(caught.value, "__notes__")


def test_an_opening_says_why_in_words(registry, events):
    quota = verdict(ErrorType.QUOTA_EXCEEDED)
    fail(handle(registry, failure_threshold=1), 0)
    fail(handle(registry, failure_rate_threshold=0.5, minimum_calls=1), 0)
    slow = handle(registry, slow_call_seconds=1, minimum_calls=1)
    slow.succeeded(slow.admit(0), 0, 2)
    spent = handle(registry)
    spent.failed(spent.admit(0), 0, 0.1, OSError(), quota)
    spent.failed(spent.admit(60), 60, 0.1, OSError(), FAULT)
    handle(registry).trip()

    assert [event.reason for event in events if isinstance(event, CircuitOpened)] == [
        "failure count reached 1",
        "1 of 1 calls failed",
        "1 of 1 calls were slow",
        "quota exceeded",
        "a probe failed",
        "tripped by an operator",
    ]


def test_a_circuit_that_is_only_watched_tells_each_breach_once_and_why(registry, events):
    breaker = handle(registry, failure_threshold=2)
    breaker.metrics_only()
    for _ in range(3):
        fail(breaker, 0)
    for _ in range(3):
        breaker.succeeded(breaker.admit(0), 0, 0.1)
    fail(breaker, 0)
    fail(breaker, 0)

    assert [event.reason for event in events if isinstance(event, CircuitWouldOpen)] == [
        "failure count reached 2",
        "failure count reached 2",
    ]


def test_the_memory_of_good_answers_is_bounded(registry):
    breaker = handle(registry)
    for _ in range(1_000):
        breaker.succeeded(breaker.admit(0), 0, 0.1)

    assert breaker.stats().total_calls == 1_000
    assert len(breaker.circuit.moments) <= 400


def test_nothing_of_an_error_is_kept_once_it_is_closed_again(registry):
    breaker = handle(registry, failure_threshold=1)
    fail(breaker, 0)
    breaker.reset()

    assert breaker.circuit.cause is None
    assert breaker.circuit.reason == ""


def test_once_failures_are_made_good_successes_pass_without_a_lock_again(registry):
    breaker = handle(registry)
    assert breaker.circuit.quiet_pass is breaker.admit(0)
    fail(breaker, 0)
    assert breaker.circuit.quiet_pass is None
    breaker.succeeded(breaker.admit(0), 0, 0.1)

    assert breaker.circuit.quiet_pass is breaker.admit(0)


# -- threads


OPERATIONS = ["trip", "force_open", "force_closed", "metrics_only", "force_closed", "stats"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"failure_threshold": 3, "recovery_timeout": 0.0005},
        {"failure_threshold": None, "failure_rate_threshold": 0.6, "minimum_calls": 5, "recovery_timeout": 0.0005},
    ],
    ids=["counting", "opening", "rated"],
)
@pytest.mark.parametrize("operated", [False, True], ids=["alone", "operated"])
def test_every_call_of_many_threads_and_loops_is_counted_exactly_once(settings, operated):
    registry = Registry(listeners=())
    settings = {"failure_threshold": 10**9, "timeout_seconds": None, **settings}

    @circuit_breaker("hammer", registry=registry, **settings)
    async def ask(number: int) -> None:
        if number % 7 == 0:
            await anyio.lowlevel.checkpoint()
        if number % 3 == 0:
            raise OSError
        if number % 11 == 0:
            raise KeyboardInterrupt  # neutral

    breaker = registry.circuit_breakers["hammer"]
    results: list[dict[str, int]] = []

    async def caller(start: int, seen: dict[str, int]) -> None:
        for number in range(start, start + 50):
            try:
                await ask(number)
            except OSError:
                seen["failed"] += 1
            except CircuitOpenError:
                seen["rejected"] += 1
            except KeyboardInterrupt:
                seen["neutral"] += 1
            else:
                seen["ok"] += 1

    async def run() -> None:
        seen = dict.fromkeys(["ok", "failed", "rejected", "neutral"], 0)
        try:
            async with anyio.create_task_group() as tasks:
                for start in range(2):
                    tasks.start_soon(caller, start, seen)
        finally:
            results.append(seen)

    def operate() -> None:
        chance = random.Random(1)
        while len(results) < 4:
            with suppress(ValueError):
                getattr(breaker, chance.choice(OPERATIONS))()

    callers = [partial(anyio.run, run, backend=backend) for backend in ["asyncio", "trio"] * 2]
    interleaved(*callers, *[operate] * operated, trace=("_circuit_breaker", "fast_path"))
    stats = breaker.stats()
    seen = {key: sum(result[key] for result in results) for key in results[0]}

    assert sum(seen.values()) == 4 * 2 * 50
    assert stats.rejected == seen["rejected"]
    assert stats.total_calls + stats.late == seen["ok"] + seen["failed"] + seen["neutral"]
    assert stats.total_failures <= seen["failed"]
    assert stats.neutral <= seen["neutral"]
    assert stats.probes_in_flight == 0
    if not operated and not settings.get("recovery_timeout"):
        assert (stats.total_failures, stats.neutral, stats.late) == (seen["failed"], seen["neutral"], 0)


def test_counts_are_exact_again_after_resets_amid_many_threads():
    registry = Registry(listeners=())

    @circuit_breaker("openai", timeout_seconds=None, registry=registry)
    async def ask() -> None: ...

    async def many(calls: int) -> None:
        for _ in range(calls):
            await ask()

    def reset(times: int) -> None:
        for _ in range(times):
            breaker.reset()

    breaker = registry.circuit_breakers["openai"]
    for resets in (100, 0):
        callers = [partial(anyio.run, many, 330)] * 4
        interleaved(*callers, partial(reset, resets), trace=("_circuit_breaker", "fast_path"))
        if resets:
            assert breaker.stats().total_calls <= 4 * 330
            breaker.reset()
            assert (breaker.stats().total_calls, breaker.stats().p95) == (0, None)

    assert breaker.stats().total_calls == 4 * 330


def test_many_threads_at_one_moment_open_it_once_and_send_as_many_probes_as_allowed():
    registry, calls = Registry(listeners=()), 8
    breakers = [
        CircuitBreaker(
            str(number), CircuitConfig(failure_threshold=1, success_threshold=2, recovery_timeout=1), registry
        )
        for number in range(40)
    ]
    tickets = [[breaker.admit(0) for _ in range(calls)] for breaker in breakers]
    failed = threading.Barrier(calls)
    admitted: list[int] = []

    def call(thread: int) -> None:
        for breaker, mine in zip(breakers, tickets, strict=True):
            breaker.failed(mine[thread], 0, 0.1, OSError(), FAULT)
        failed.wait()
        for number, breaker in enumerate(breakers):
            with suppress(CircuitOpenError):
                breaker.admit(1)
                admitted.append(number)

    interleaved(*[partial(call, number) for number in range(calls)], trace=("_circuit_breaker",))
    stats = [breaker.stats() for breaker in breakers]

    assert {(each.opened_count, each.total_failures, each.late) for each in stats} == {(1, 1, calls - 1)}
    assert {(each.probes_in_flight, each.rejected) for each in stats} == {(2, calls - 2)}
    assert sorted(admitted) == sorted([*range(40), *range(40)])


def test_probes_that_come_and_go_in_many_threads_leave_no_slot_taken():
    breaker = handle(Registry(listeners=()), success_threshold=2)
    breaker.trip()
    later = breaker.circuit.open_until
    admitted: list[int] = []

    def probe() -> None:
        for _ in range(60):
            with suppress(CircuitOpenError):
                ticket = breaker.admit(later)
                admitted.append(breaker.stats().probes_in_flight)
                breaker.released(ticket)

    interleaved(*[probe] * 6, trace=("_circuit_breaker",))
    stats = breaker.stats()

    assert set(admitted) <= {1, 2}
    assert (stats.probes_in_flight, stats.neutral) == (0, len(admitted))
    assert stats.rejected == 6 * 60 - len(admitted)
