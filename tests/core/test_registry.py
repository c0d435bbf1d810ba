"""One place for state: what a person sees in a REPL and what a program reads from it."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest
import structlog

from resilient_ai import (
    Endpoint,
    ErrorType,
    LastAnswer,
    Registry,
    RetryRule,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    describe,
    failover,
    rate_limit,
    registry,
    resilient,
    spend_limit,
)
from resilient_ai._core.scrub import args_hash, scrub
from resilient_ai.events import CircuitOpened
from resilient_ai.testing import VirtualClock, capture_events, isolated_registry

if TYPE_CHECKING:
    from types import FrameType


async def ping() -> str:
    return "pong"


async def broken() -> None:
    raise OSError("down")


async def with_endpoint(_endpoint=None):
    return "pong"


@pytest.fixture
def call(registry):
    return circuit_breaker("openai", registry=registry)(ping)


@pytest.mark.parametrize(
    "policy",
    [
        partial(circuit_breaker),
        partial(classified_retry),
        partial(batched),
        partial(degrade_to, "sorry"),
        partial(failover, Endpoint("us")),
        partial(rate_limit, requests_per_minute=6),
        partial(spend_limit, usd_per_hour=1),
        partial(adaptive_limit),
        partial(resilient, Endpoint("us")),
    ],
    ids=lambda policy: policy.func.__name__,
)
def test_what_is_no_registry_is_an_error_at_decoration_that_says_so(policy):
    with pytest.raises(ValueError, match="registry must be a Registry, got a dict"):
        policy(registry={})(with_endpoint)


async def test_repr_is_a_table_with_one_line_per_policy(registry, call):
    assert repr(Registry()) == "<Registry: nothing decorated yet>"
    await call()
    head, line = repr(registry).splitlines()

    assert head.split() == ["call", "site", "policy", "state", "calls", "ok", "failed", "retried", "degraded", "p95"]
    assert line.split()[:5] == ["openai", "circuit_breaker", "closed", "1", "1"]
    assert registry._repr_html_().count("<tr>") == 2


def test_the_table_has_room_for_every_policy_and_endpoint(registry):
    @degrade_to("later", registry=registry)
    @batched(registry=registry)
    @classified_retry(registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), registry=registry)
    @circuit_breaker(registry=registry)
    @adaptive_limit(registry=registry)
    async def ask(endpoint: Endpoint, prompts: list[str]) -> list[str]:
        return prompts

    kinds = [line.split()[1] for line in repr(registry).splitlines()[1:-1]]

    assert {"degrade_to", "batched", "classified_retry", "failover", "endpoint", "circuit_breaker"} <= set(kinds)


async def test_numbers_come_as_dataclasses_and_as_plain_json(registry, call):
    await call()

    assert registry.stats()["circuit_breaker"]["openai"].total_calls == 1
    assert json.loads(json.dumps(registry.as_dict()))["circuit_breaker"]["openai"]["total_calls"] == 1
    assert type(registry.as_dict()["circuit_breaker"]["openai"]["state"]) is str


def test_views_are_read_only_mappings_that_name_what_there_is(registry, call):
    view = registry.circuit_breakers

    assert list(view) == ["openai"]
    assert "openai" in view
    assert "anthropic" not in view
    with pytest.raises(KeyError, match="no circuit_breaker named 'anthropic'; there are: 'openai'"):
        view["anthropic"]
    with pytest.raises(TypeError):
        view["openai"] = 1


def test_find_matches_shell_patterns(registry, call):
    assert [handle.name for handle in registry.find("open*")] == ["openai"]
    assert registry.find("claude*") == []


async def test_reading_changes_nothing(registry, clock, events):
    call = circuit_breaker("x", failure_threshold=1, registry=registry)(broken)
    with pytest.raises(OSError):
        await call()
    clock.advance(61)
    seen = len(events)
    before = registry.as_dict()
    for _ in range(2):
        repr(registry)
        registry.stats()
        repr(call)
        repr(describe(call))

    assert registry.as_dict() == before
    assert len(events) == seen


async def test_reset_forgets_everything_and_functions_go_on(registry, call):
    await call()
    registry.reset()

    assert registry.circuit_breakers["openai"].stats().total_calls == 0
    assert await call() == "pong"


async def test_a_listener_that_raises_is_told_of_once_and_breaks_nothing():
    own = Registry(clock=VirtualClock(), listeners=[lambda event: 1 / 0])
    call = circuit_breaker("x", failure_threshold=1, registry=own)(broken)
    with structlog.testing.capture_logs() as lines, pytest.raises(OSError):
        await call()
    with structlog.testing.capture_logs() as again:
        own.circuit_breakers["x"].reset()

    assert [line["event"] for line in lines] == ["resilient_ai.listener_failed"]
    assert again == []


def test_subscribing_ends_when_told(registry):
    heard: list[object] = []
    stop = registry.subscribe(heard.append)
    event = CircuitOpened("x", 1, "why", 1.0)
    registry.emit(event)
    stop()
    registry.emit(event)

    assert heard == [event]


def test_ending_one_subscription_leaves_the_others_of_the_same_listener(registry):
    heard: list[object] = []
    hear = heard.append
    stop, stop_again = registry.subscribe(hear), registry.subscribe(hear)
    event = CircuitOpened("x", 1, "why", 1.0)
    stop()
    stop()
    registry.emit(event)
    stop_again()
    registry.emit(event)

    assert heard == [event]


def test_a_listener_that_raises_is_told_of_again_when_it_was_subscribed_anew(registry):
    event = CircuitOpened("x", 1, "why", 1.0)

    def broken(event):
        raise LookupError

    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            stop = registry.subscribe(broken)
            registry.emit(event)
            registry.emit(event)
            stop()

    assert [line["error"] for line in lines] == ["LookupError", "LookupError"]


def test_an_isolated_registry_takes_new_decorators_and_gives_the_default_back():
    with isolated_registry() as own, capture_events() as events:
        circuit_breaker("isolated")(ping)
        own.circuit_breakers["isolated"].trip()

    assert "isolated" in own.circuit_breakers
    assert "isolated" not in registry.circuit_breakers
    assert [type(event) for event in events] == [CircuitOpened]


def test_one_state_is_made_when_threads_claim_it_at_once(registry):
    functions = []
    start = threading.Barrier(8)

    def claim() -> None:
        start.wait()
        functions.append(circuit_breaker("raced", registry=registry)(ping))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(functions) == 8
    assert list(registry.circuit_breakers) == ["raced"]


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abcdefghijklmnop",
        "Authorization: Bearer abc.def.ghi",
        "https://user:hunter22@proxy.example/v1",
        "x-api-key=abcdefgh12345678",
    ],
)
def test_scrubbing_takes_keys_out(text):
    assert not any(secret in scrub(text) for secret in ("abcdefgh", "abc.def", "hunter22"))


def test_scrubbing_takes_the_request_out_and_keeps_one_short_line():
    text = scrub("bad input:\n'tell me a secret'" + "x" * 500, private=("tell me a secret", 5))

    assert "secret" not in text
    assert "\n" not in text
    assert len(text) <= 200


def test_args_hash_is_equal_for_equal_arguments_and_survives_a_bad_repr():
    class Bad:
        def __repr__(self) -> str:
            raise RuntimeError

    assert args_hash(("a",), {"b": 1}) == args_hash(("a",), {"b": 1}) != args_hash(("a",), {"b": 2})
    assert len(args_hash((Bad(),), {})) == 8


def test_the_table_shows_one_call_site_after_the_other_and_the_outermost_policy_first(registry):
    for name in ("first", "second"):

        @degrade_to("sorry", name=name, registry=registry)
        @batched(name, registry=registry)
        @classified_retry(name, registry=registry)
        @failover(Endpoint("eu"), name=name, registry=registry)
        @circuit_breaker(name, registry=registry)
        @adaptive_limit(name, registry=registry)
        async def call(endpoint: Endpoint, texts: list[str]) -> list[str]: ...

    lines = [line.split()[:2] for line in repr(registry).splitlines()[1:-1]]
    kinds = ["degrade_to", "batched", "classified_retry", "failover"]
    below = ["adaptive_limit", "circuit_breaker"]

    assert [site for site, _ in lines if site != "eu"] == [
        *["first"] * 4,
        *["first[eu]"] * 2,
        *["second"] * 4,
        *["second[eu]"] * 2,
    ]
    assert [kind for site, kind in lines if site != "eu"] == (kinds + below) * 2
    assert ["eu", "endpoint"] in lines


def test_a_name_that_is_not_there_is_answered_by_some_that_are(registry):
    for number in range(30):
        registry.claim("circuit_breaker", f"tenant-{number}", None, object)
    with pytest.raises(
        KeyError, match=r"no circuit_breaker named 'x'; there are: 'tenant-0', .*'tenant-19' and 10 more"
    ):
        registry.circuit_breakers["x"]


def test_a_signal_handler_may_read_everything_at_any_moment_of_a_call():
    """Whatever a call holds just then: the handler runs in the thread of that call, and must not wait for it."""
    own = Registry(listeners=())

    @degrade_to(LastAnswer(), "sorry", registry=own)
    @batched(batch_size=2, batch_timeout=0, registry=own)
    @classified_retry(rules={kind: RetryRule(1, 0.0, 0.0) for kind in ErrorType}, registry=own)
    @failover(Endpoint("a"), Endpoint("b"), registry=own)
    @adaptive_limit(initial=1, max_wait=0, registry=own)
    @circuit_breaker(failure_threshold=1, registry=own)
    async def ask(endpoint: Endpoint, numbers: list[int]) -> list[int]:
        if 3 in numbers:
            raise OSError
        return numbers

    reads: Counter[tuple[object, ...]] = Counter()

    def read(frame: FrameType, event: str, _argument: object) -> None:
        caller = frame.f_back
        place = (frame.f_code, caller and caller.f_code, caller and caller.f_lineno)
        if event == "call" and reads[place] < 2:  # what is held at a place the first time is held there each time
            own.as_dict()
            reads[place] += 1

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(ask, number)

    def run() -> None:
        sys.setprofile(read)  # as a signal would, but before every line of the library and not now and then
        try:
            anyio.run(main)
        finally:
            sys.setprofile(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)

    assert not thread.is_alive(), "it waits for itself"
    assert reads.total() > 1_000
