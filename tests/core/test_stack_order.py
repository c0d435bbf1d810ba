"""Which orders of a stack undo a guarantee, and that every policy says so itself."""

from __future__ import annotations

import warnings

import pytest

from resilient_ai import (
    Endpoint,
    Registry,
    StackOrderWarning,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    describe,
    failover,
    rate_limit,
)
from resilient_ai._core.policy import Policy
from resilient_ai._core.report import Row
from resilient_ai._core.wrapper import decorate


def put(kind, fn, registry):
    """A policy of that kind on a function."""
    match kind:
        case "degrade_to":
            return degrade_to("sorry", registry=registry)(fn)
        case "failover":
            return failover(Endpoint("eu"), registry=registry)(fn)
        case "batched":
            return batched(batch_size=2, registry=registry)(fn)
        case "classified_retry":
            return classified_retry(registry=registry)(fn)
        case "adaptive_limit":
            return adaptive_limit(registry=registry)(fn)
        case "rate_limit":
            return rate_limit(requests_per_minute=60, registry=registry)(fn)
        case _:
            return circuit_breaker(registry=registry)(fn)


RECOMMENDED = [
    "degrade_to",
    "batched",
    "classified_retry",
    "failover",
    "rate_limit",
    "adaptive_limit",
    "circuit_breaker",
]


@pytest.mark.parametrize(
    ("outer", "inner", "reason"),
    [
        (
            "circuit_breaker",
            "classified_retry",
            "counts a whole retry loop as one failure; put @circuit_breaker",
        ),
        ("circuit_breaker", "batched", "counts one failed call once per waiter; put @circuit_breaker nearer"),
        ("classified_retry", "degrade_to", "never sees a failure, because degrade_to answers it; put @degrade_to on"),
        ("batched", "degrade_to", "never sees a failure"),
        ("failover", "degrade_to", "never sees a failure"),
        ("circuit_breaker", "degrade_to", "never sees a failure"),
        ("classified_retry", "classified_retry", "two classified_retry multiply their attempts; keep one"),
        ("batched", "batched", "two batched would batch batches; keep one"),
        ("failover", "failover", "multiply the endpoints asked"),
        ("circuit_breaker", "failover", "refuses the good ones with the bad"),
        ("circuit_breaker", "circuit_breaker", "named .* count each failure twice"),
        ("adaptive_limit", "classified_retry", "while a retry sleeps"),
        ("adaptive_limit", "batched", "waiting for a batch"),
        ("adaptive_limit", "failover", "one limit for all endpoints"),
        ("rate_limit", "classified_retry", "a whole loop of attempts as one request; put @rate_limit nearer"),
        ("rate_limit", "batched", "every item as a request of its own"),
        ("rate_limit", "failover", "one quota for all endpoints"),
        ("adaptive_limit", "rate_limit", "for calls that wait for the quota.*put @rate_limit on top"),
        ("circuit_breaker", "rate_limit", "against the circuit's timeout; put @rate_limit on top"),
        ("rate_limit", "rate_limit", "named .* take each call out of it twice"),
        ("adaptive_limit", "adaptive_limit", "named .* take two places in it for each call"),
    ],
)
def test_an_order_that_undoes_a_guarantee_warns_once_with_the_reason(outer, inner, reason, registry):
    async def call(endpoint, other, items): ...

    below = put(inner, call, registry)
    with pytest.warns(StackOrderWarning, match=reason) as caught:
        put(outer, below, registry)

    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize("index", range(len(RECOMMENDED)))
def test_the_recommended_order_is_silent_from_wherever_it_begins(index, registry):
    async def call(endpoint, items): ...

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fn = call
        for kind in reversed(RECOMMENDED[index:]):
            fn = put(kind, fn, registry)

    assert [layer.kind for layer in describe(fn).layers] == RECOMMENDED[index:]


def test_a_retry_below_a_failover_is_silent_because_some_want_every_endpoint_retried_first(registry):
    async def call(endpoint): ...

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        put("failover", put("classified_retry", call, registry), registry)


def one_key(*args):
    return args


def other_key(*args):
    return args


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ({"name": "one"}, {"name": "two"}),
        ({"name": "one", "key": one_key}, {"name": "one"}),
        ({"name": "one", "key": one_key}, {"name": "one", "key": other_key}),
        ({"name": "one"}, {"name": "one", "registry": Registry()}),
    ],
    ids=["names", "key-and-none", "keys", "registries"],
)
def test_two_circuits_on_one_function_are_silent(outer, inner, registry):
    async def fn() -> None: ...

    below = circuit_breaker(**{"registry": registry, **inner})(fn)

    assert len(describe(circuit_breaker(registry=registry, **outer)(below)).layers) == 2


@pytest.mark.parametrize("settings", [{"name": "one"}, {}, {"name": "one", "key": one_key}])
def test_one_circuit_twice_on_one_function_warns(settings, registry):
    async def fn() -> None: ...

    guard = circuit_breaker(registry=registry, **settings)
    with pytest.warns(StackOrderWarning, match="two circuit_breaker named .* count each failure twice in it; keep one"):
        guard(guard(fn))


class Counter:
    """The state of a policy that nobody knows."""

    def __init__(self, name):
        self.name = name

    def row(self):
        return Row(self.name, "counter", "counts", 0)

    def stats(self):
        raise NotImplementedError

    def reset(self):
        raise NotImplementedError


class CounterPolicy(Policy):
    """A policy of a user's own that says no more of itself than its kind."""

    kind = "counter"

    def make_state(self, name):
        return Counter(name)

    def bind(self, below, site):
        self.state(site)
        return below(site)


def test_a_kind_that_says_nothing_of_itself_comes_last_in_the_table(registry):
    async def call(endpoint, items): ...

    fn = call
    for kind in reversed(RECOMMENDED[1:]):
        fn = put(kind, fn, registry)
    decorate(fn, CounterPolicy(None, None, registry))

    assert [row.policy for row in registry.rows() if row.policy != "endpoint"] == [*RECOMMENDED[1:], "counter"]
    assert "counts" in repr(registry)


def test_a_policy_that_answers_failures_warns_of_one_outside_that_it_does_not_know(registry):
    async def call(): ...

    with pytest.warns(StackOrderWarning, match="counter outside degrade_to never sees a failure"):
        decorate(put("degrade_to", call, registry), CounterPolicy(None, None, registry))
