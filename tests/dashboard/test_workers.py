"""Workers that were forked from one process, and signal handlers: both exporters of events bear them."""

from __future__ import annotations

import os

import pytest

from tests.core.test_forks import run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

REQUEST = """
from resilient_ai.dashboard import anyone, dashboard
from resilient_ai.events import EndpointDown
from resilient_ai.telemetry import collector
from tests.dashboard.support import act, request

registry, told = Registry(listeners=()), []

class Interrupts(str):
    # An error type that does something while a listener looks it up.
    def __hash__(self):
        while told: told.pop()()
        return 1

def emit(error_type="timeout"):
    registry.emit(EndpointDown("us", "us", error_type, 1.0))
    return "told"

def lines(app):
    return sorted(each["times"] for each in asyncio.run(request(app, "/snapshot.json")).json()["events"])

def numbers(shown):
    return [each.value for family in shown.collect() for each in family.samples if each.name.endswith("_events_total")]

LISTENERS = {
    "dashboard": lambda: (dashboard(registry, view=anyone), lines),
    "telemetry": lambda: (collector(registry), numbers),
}
"""


def test_each_forked_worker_is_a_process_of_its_own_and_refuses_an_action_for_another():
    said = run(
        REQUEST
        + """
app = dashboard(registry, view=anyone, act=lambda scope, action: True)
circuit_breaker("ask", registry=registry)(emit)
process = lambda: asyncio.run(request(app, "/snapshot.json")).json()["process"]
here = process()
child = lambda: process() + " " + str(asyncio.run(act(app, name="ask", process=here)).status)
(first, refused), (second, _) = (in_child(child).strip("'").split() for _ in range(2))
print(len({here, first, second}), refused, process() == here)
"""
    )

    assert said == ["3", "409", "True"]


@pytest.mark.parametrize("listener", ["dashboard", "telemetry"])
def test_an_event_that_comes_while_a_listener_is_at_another_is_told_as_well(listener):
    said = run(
        REQUEST
        + f"""
signal.alarm(20)
app, seen = LISTENERS["{listener}"]()
told.append(emit)
emit(Interrupts("timeout"))
print(seen(app))
"""
    )

    assert " ".join(said) in ("[1, 1]", "[1.0, 1.0]")


@pytest.mark.parametrize("listener", ["dashboard", "telemetry"])
def test_a_child_that_is_forked_while_a_listener_is_at_an_event_tells_of_its_own(listener):
    said = run(
        REQUEST
        + f"""
app, seen = LISTENERS["{listener}"]()
inside, go = threading.Event(), threading.Event()
told.append(lambda: (inside.set(), go.wait()))
thread = threading.Thread(target=emit, args=(Interrupts("timeout"),), daemon=True)
thread.start()
inside.wait()
print(in_child(emit))
go.set()
thread.join()
print(seen(app))
"""
    )

    assert " ".join(said) in ("'told' [1]", "'told' [1.0]")
