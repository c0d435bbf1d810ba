"""A stack in one coroutine: it tells callers, registry and listeners what its layers would have told."""

from __future__ import annotations

import asyncio  # noqa: TID251 - a task that asyncio itself cancels
import random
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import (
    CallTimeoutError,
    CircuitOpenError,
    Endpoint,
    ErrorType,
    Registry,
    adaptive_limit,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
    watch,
)
from resilient_ai._core.wrapper import decorate
from resilient_ai.providers import Reply
from resilient_ai.testing import VirtualClock, capture_events
from resilient_ai.usage import Usage, report_usage
from tests.core.support import JumpingLoop
from tests.helpers import ByLayers, ProviderError, errors_mean_what_they_say, interleaved, scripted

RECOMMENDED = ("degrade_to", "classified_retry", "failover", "adaptive_limit", "circuit_breaker")


def decorator(policy, registry, timeout=None, strategy="round_robin"):
    if policy == "degrade_to":
        return degrade_to("sorry", registry=registry)
    if policy == "classified_retry":
        return classified_retry(registry=registry)
    if policy == "failover":
        return failover(Endpoint("eu"), Endpoint("us"), strategy=strategy, registry=registry)
    if policy == "adaptive_limit":
        return adaptive_limit(initial=2, max_wait=0, registry=registry)  # nobody moves the clock for who waits
    return circuit_breaker(timeout_seconds=timeout, failure_threshold=2, registry=registry)


class HurriedClock(VirtualClock):
    """Sleeps take no time but their own."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await checkpoint()


class Side:
    """One stack over a scripted provider, in a registry of its own."""

    def __init__(
        self, policies: tuple[str, ...], timeout: float | None, strategy: str, *, by_layers: bool, counted: bool
    ) -> None:
        self.clock = HurriedClock()
        self.registry = Registry(clock=self.clock, rng=random.Random(7), listeners=())
        self.outcomes: list[tuple[str, float]] = []
        self.given: list[list[object]] = []

        async def ask(*given: object) -> str:
            self.given.append([getattr(each, "name", each) for each in given])
            outcome, seconds = self.outcomes.pop(0) if self.outcomes else ("ok", 0.5)
            self.clock.advance(seconds)
            await checkpoint()
            if outcome in ANSWERS:
                return await ANSWERS[outcome](self)
            if outcome == "bug":
                raise ZeroDivisionError("a bug")
            if outcome == "cancel":
                self.scope.cancel()
                await checkpoint()
            raise ProviderError(outcome)

        async def inside(fails: bool) -> Reply:
            await checkpoint()
            if fails:
                raise OSError("down")
            return Reply("inner", usage=Usage(100, 50), model="small")

        def stacked(function, policies):
            function.__qualname__ = function.__name__  # of no class: a method's name would tell the two sides apart
            call = decorate(function, ByLayers(None, None, self.registry)) if by_layers else function
            for policy in reversed(policies):
                call = decorator(policy, self.registry, timeout, strategy)(call)
            return call

        if counted:
            self.registry.usage.clear()  # the first look, from which on usage is counted
        self.inside = stacked(inside, ("degrade_to",))
        call = stacked(ask, policies)
        client = type("Client", (), {"ask": call, "name": "client"})()
        self.calls = {"function": call, "method": client.ask, "through its class": partial(type(client).ask, client)}

    async def ask(self, way, outcomes, watched):
        """What the caller and a watcher see, and the function was given."""
        call, self.outcomes = self.calls[way], list(outcomes)
        seen = None
        with anyio.CancelScope() as self.scope:
            try:
                if watched:
                    with watch() as seen:
                        answer = await call("ping")
                        if hasattr(answer, "__aiter__"):
                            answer = [item async for item in answer]
                else:
                    answer = await call("ping")
                answer = [item async for item in answer] if hasattr(answer, "__aiter__") else answer
            except Exception as error:
                answer = type(error), str(error), type(error.__cause__)
        if self.scope.cancelled_caught:
            answer = "cancelled"
        given, self.given = self.given, []
        return answer, repr(seen), given

    def operate(self, what):
        if what in ("trip", "force_open", "disable", "reset"):
            for circuit in self.registry.circuit_breakers.values():
                if what != "trip" or circuit.state.value in ("closed", "half_open", "open"):
                    getattr(circuit, what)()
        elif what in ("mark_down", "mark_up"):
            for each in self.registry.failovers.values():
                getattr(each, what)("eu")
        else:
            self.clock.advance(float(what))


async def _text(_side):
    return "pong"


async def _reply(_side):
    return Reply("pong", usage=Usage(7, 3), model="large")


async def _told(side):
    report_usage(Usage(20, 10), "large")
    return await _text(side)


async def _told_reply(side):
    report_usage(Usage(20, 10), "large")
    return await _reply(side)


async def _inner_reply(side):
    return await side.inside(False)


async def _inner_fallback(side):
    await side.inside(True)
    return await _reply(side)


async def _stream(_side):
    async def items():
        yield "po"
        report_usage(Usage(5, 5), "large")
        yield "ng"

    return items()


ANSWERS = {
    "ok": _text,
    "reply": _reply,
    "told": _told,
    "told reply": _told_reply,
    "inner reply": _inner_reply,
    "inner fallback": _inner_fallback,
    "stream": _stream,
}

OUTCOME = st.tuples(
    st.sampled_from(
        [
            *("ok", "ok", "ok", *ANSWERS),
            *("model_overloaded", "rate_limit", "invalid_request", "quota_exceeded", "timeout", "bug", "cancel"),
        ]
    ),
    st.sampled_from([0.0, 0.25, 2.0]),
)
STEP = st.one_of(
    st.tuples(st.just("ask"), st.lists(OUTCOME, max_size=4), st.booleans()),
    st.tuples(
        st.just("operate"),
        st.sampled_from(["trip", "force_open", "disable", "reset", "mark_down", "mark_up", "1", "61", "601"]),
    ),
)


@given(
    policies=st.sets(st.sampled_from(RECOMMENDED), min_size=1),
    steps=st.lists(STEP, min_size=1, max_size=15),
    timeout=st.sampled_from([None, 30.0]),
    strategy=st.sampled_from(["round_robin", "priority", "weighted", "least_latency"]),
    way=st.sampled_from(["function", "method", "through its class"]),
    backend=st.sampled_from(["asyncio", "trio"]),
    looked_at=st.booleans(),
    counted=st.booleans(),
)
def test_it_answers_counts_and_reports_as_its_layers_do(
    policies, steps, timeout, strategy, way, backend, looked_at, counted
):
    order = tuple(policy for policy in RECOMMENDED if policy in policies)
    short, long = (Side(order, timeout, strategy, by_layers=each, counted=counted) for each in (False, True))

    async def run():
        with capture_events(short.registry) as told, capture_events(long.registry) as expected:
            for what, *given_ in steps:
                if what == "operate":
                    short.operate(*given_)
                    long.operate(*given_)
                else:
                    assert await short.ask(way, *given_) == await long.ask(way, *given_)
                if looked_at:  # what a limit has put off to learn, it learns when somebody looks
                    assert short.registry.as_dict() == long.registry.as_dict()
            assert short.registry.as_dict() == long.registry.as_dict()
        assert told == expected

    with errors_mean_what_they_say():
        anyio.run(run, backend=backend)


def way_of(call):
    """The names of the coroutines that a call runs through."""

    class Pause:
        def __await__(self):
            yield

    names = []
    coroutine = call(Pause())
    coroutine.send(None)
    below = coroutine
    while below is not None and hasattr(below, "cr_code"):
        names.append(below.cr_code.co_name)
        below = below.cr_await
    coroutine.close()
    return names


async def pause(*given: object) -> str:
    await given[-1]  # type: ignore[misc]
    return "pong"


@pytest.mark.parametrize("bound", [False, True], ids=["function", "method"])
@pytest.mark.parametrize("many", range(1, 6))
def test_a_stack_with_nothing_to_decide_is_one_coroutine_however_many_policies_it_has(many, bound, registry):
    call = pause
    for policy in reversed(RECOMMENDED[-many:]):
        call = decorator(policy, registry)(call)
    if bound:
        call = type("Client", (), {"ask": call})().ask

    assert way_of(call) == ["called", "pause"]


@pytest.mark.parametrize(
    "policy",
    [
        lambda registry: circuit_breaker(timeout_seconds=None, key=lambda _: "key", registry=registry),
        lambda registry: circuit_breaker(timeout_seconds=None, reject=lambda _: None, registry=registry),
        lambda registry: classified_retry(reject=lambda _: None, registry=registry),
        lambda registry: failover(Endpoint("eu"), reject=lambda _: None, registry=registry),
        lambda registry: failover(Endpoint("eu"), hedge_after=1, registry=registry),
    ],
    ids=["key", "breaker reject", "retry reject", "failover reject", "hedge"],
)
async def test_a_policy_that_looks_at_each_call_runs_as_a_layer(policy, registry, clock):
    call = policy(registry)(scripted("pong"))

    assert await call("ping") == "pong"
    assert all(row.ok in (1, None) for row in registry.rows())


async def test_policies_of_two_registries_run_as_layers_and_count_in_their_own(clock):
    one, other = Registry(clock=clock, listeners=()), Registry(clock=clock, listeners=())
    call = classified_retry("one", registry=one)(circuit_breaker("other", registry=other)(scripted("pong")))

    assert await call() == "pong"
    assert one.retries["one"].stats().calls == other.circuit_breakers["other"].stats().total_calls == 1


async def test_an_endpoint_whose_circuit_probes_gets_its_turn(registry, clock, provider_errors):
    """Handed over to the layers, a call goes to the endpoint whose turn it was, or a circuit would never be probed."""
    asked = []

    @failover(Endpoint("eu"), Endpoint("us"), health_check_interval=0, registry=registry)
    @circuit_breaker("probed", timeout_seconds=None, recovery_timeout=5, success_threshold=1, registry=registry)
    async def ask(endpoint: Endpoint) -> str:
        asked.append(endpoint.name)
        return "pong"

    registry.circuit_breakers["probed[eu]"].trip()
    clock.advance(5)
    for _ in range(2):
        await ask()

    assert sorted(asked) == ["eu", "us"]
    assert registry.circuit_breakers["probed[eu]"].state == "closed"


async def test_a_result_that_is_late_through_a_reset_is_not_counted(registry):
    @circuit_breaker("late", timeout_seconds=None, registry=registry)
    async def ask() -> str:
        registry.reset()
        return "pong"

    await ask()
    stats = registry.circuit_breakers["late"].stats()

    assert (stats.total_calls, stats.late) == (0, 1)


async def test_arguments_that_do_not_fit_are_nobodys_failure(registry):
    @classified_retry("wrong", registry=registry)
    @circuit_breaker("wrong", failure_threshold=1, timeout_seconds=None, registry=registry)
    async def ask(_text: str) -> str:
        return "pong"

    with pytest.raises(TypeError, match="positional argument"):
        await ask()
    assert registry.circuit_breakers["wrong"].stats().total_failures == 0


@pytest.mark.parametrize("fill", [0, 3], ids=["listening", "silent"])
async def test_refusals_are_counted_and_told_with_their_cause(registry, clock, fill):
    broken = ConnectionError("down")
    ask = circuit_breaker("shut", failure_threshold=1, timeout_seconds=None, registry=registry)(scripted(broken))
    with pytest.raises(ConnectionError):
        await ask()
    clock.advance(10)
    for _ in range(fill):
        with pytest.raises(CircuitOpenError):
            await ask()
    with capture_events(registry) as events, pytest.raises(CircuitOpenError) as caught:
        await ask()

    assert str(caught.value.__cause__) == f"{type(broken).__name__}: {broken}"
    assert (caught.value.reason, caught.value.retry_after) == ("open", 50.0)
    assert registry.circuit_breakers["shut"].stats().rejected == fill + 1
    assert [event.retry_after for event in events] == [50.0]


async def test_a_refusal_of_a_circuit_forced_open_names_no_time(registry):
    ask = circuit_breaker("forced", timeout_seconds=None, registry=registry)(scripted("pong"))
    registry.circuit_breakers["forced"].force_open()
    with pytest.raises(CircuitOpenError) as caught:
        await ask()

    assert (caught.value.reason, caught.value.retry_after) == ("forced_open", None)


def test_a_circuit_ends_a_call_by_the_clock_of_the_loop_and_not_by_its_own():
    sleep = circuit_breaker(timeout_seconds=10.0, registry=Registry(listeners=()))(anyio.sleep)

    async def main() -> float:
        await sleep(0.0)  # from the second call on, no layer runs it
        start = anyio.current_time()
        with pytest.raises(CallTimeoutError):
            await sleep(1000.0)
        return anyio.current_time() - start

    taken = anyio.run(main, backend="asyncio", backend_options={"loop_factory": JumpingLoop})
    assert taken == pytest.approx(10.0)


def test_a_task_that_asyncio_cancels_hears_of_that_and_not_of_the_circuit():
    registry = Registry(listeners=())
    ask = circuit_breaker("shut", timeout_seconds=None, registry=registry)(scripted("pong"))
    registry.circuit_breakers["shut"].trip()

    async def main() -> None:
        asyncio.current_task().cancel()
        await ask()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert registry.circuit_breakers["shut"].stats().rejected == 0


def test_each_of_two_loops_in_two_threads_is_asked_for_its_own_cancellation():
    """One thread's task is cancelled and the other's is not, though both ask the same circuit at the same time."""
    registry = Registry(listeners=())
    ask = circuit_breaker("shut", timeout_seconds=None, registry=registry)(scripted("pong"))
    registry.circuit_breakers["shut"].trip()

    async def refused() -> None:
        for _ in range(50):
            with pytest.raises(CircuitOpenError):
                await ask()

    async def cancelled() -> None:
        for _ in range(50):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await ask()
            assert scope.cancelled_caught

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(anyio.to_thread.run_sync, anyio.run, refused)
                tasks.start_soon(anyio.to_thread.run_sync, anyio.run, cancelled)

    anyio.run(main)
    assert registry.circuit_breakers["shut"].stats().rejected == 4 * 50


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_four_threads_count_every_call_in_every_layer(backend):
    registry = Registry(listeners=())
    calls, threads = 500, 4

    @degrade_to("sorry", registry=registry)
    @classified_retry(registry=registry)
    @failover(Endpoint("eu"), Endpoint("us"), registry=registry)
    @circuit_breaker("counted", timeout_seconds=None, registry=registry)
    async def ask(_endpoint: Endpoint) -> str:
        return "pong"

    async def caller() -> None:
        for _ in range(calls):
            await ask()

    interleaved(*[partial(anyio.run, caller, backend=backend)] * threads, trace=("fast_path",))
    stats = registry.stats()

    everything = calls * threads
    assert [next(iter(stats[kind].values())).calls for kind in ("degrade_to", "classified_retry", "failover")] == (
        [everything] * 3
    )
    assert sum(each.calls for each in stats["endpoint"].values()) == everything
    assert [each.in_flight for each in stats["endpoint"].values()] == [0, 0]
    assert sum(each.total_calls for each in stats["circuit_breaker"].values()) == everything


async def test_what_a_function_calls_after_a_failure_has_no_context_of_it(registry, clock, provider_errors):
    """A second attempt does not run inside the handling of the first one's error."""
    contexts = []

    @classified_retry("context", registry=registry)
    async def ask() -> str:
        error = ProviderError(ErrorType.MODEL_OVERLOADED)
        try:
            raise error
        finally:
            contexts.append(error.__context__)

    async with clock.autojump():
        with pytest.raises(Exception, match="context"):
            await ask()

    assert contexts == [None] * len(contexts)
    assert len(contexts) > 1
