"""What completion offers on a handle: what a person may read and do, and nothing that only policies call."""

from __future__ import annotations

import pytest

from resilient_ai import types

READ = {"name", "call_site", "endpoint", "key", "stats", "counts", "row", "reset"}
OFFERED = {
    "AdaptiveLimit": READ,
    "Batcher": READ,
    "CircuitBreaker": READ
    | {"state", "trip", "force_open", "force_closed", "disable", "metrics_only", "on_transition"},
    "Degradation": READ,
    "EndpointHandle": READ | {"status", "mark_down", "mark_up"},
    "Failover": READ | {"endpoints", "mark_down", "mark_up"},
    "Retry": READ,
}


@pytest.mark.parametrize("handle", OFFERED)
def test_a_handle_offers_what_a_person_may_do(handle):
    offered = {name for name in dir(getattr(types, handle)) if not name.startswith("_")}

    assert offered <= OFFERED[handle]


@pytest.mark.parametrize("handle", OFFERED)
def test_all_that_a_handle_offers_says_what_it_does(handle):
    cls = getattr(types, handle)
    methods = [getattr(cls, name) for name in OFFERED[handle] if callable(getattr(cls, name, None))]

    assert all(method.__doc__ for method in methods)
