"""
Conformance cases distilled from the classic libraries, run through one adapter.

`tests/data/breaker_cases.json` carries its vocabulary. The adapter drives the circuit's handle, and reads per-period
counts as differences of its lifetime counts, because that is what the handle keeps.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from resilient_ai import CircuitOpenError, CircuitState, Registry, circuit_breaker
from resilient_ai._classification.verdict import verdict
from resilient_ai._core.errors import ErrorType
from resilient_ai.events import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitModeSet,
    CircuitOpened,
    CircuitWouldOpen,
)
from resilient_ai.testing import VirtualClock
from tests.circuit_breaker.support import driven

CASES = json.loads((Path(__file__).parents[2] / "data" / "breaker_cases.json").read_text())["cases"]


class FailureError(Exception):
    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    mode = config["mode"]
    settings = {
        "failure_threshold": config.get("failure_threshold") if mode == "consecutive" else None,
        "recovery_timeout": config.get("recovery_timeout", 5),
        "success_threshold": config.get("success_threshold", 1),
        "half_open_max_calls": config.get("half_open_max_calls", 1),
        "minimum_calls": config.get("minimum_calls", 1),
        "timeout_seconds": config.get("probe_lease"),
        "failure_rate_threshold": config.get("failure_rate_threshold"),
        "window_calls": config.get("window_size"),
        "max_recovery_timeout": config.get("max_recovery_timeout"),
        "slow_call_seconds": config.get("slow_call_seconds"),
    }
    if "window_seconds" in config:
        settings["window_seconds"] = config["window_seconds"]
    if "slow_call_rate_threshold" in config:
        settings["slow_call_rate_threshold"] = config["slow_call_rate_threshold"]
    if mode != "consecutive" and "failure_threshold" in config:
        # We count failures inside a window as a share. Of the last n calls that is the same number; of the last n
        # seconds it is the same for calls that all fail, which is what the one case of this kind has.
        most = config.get("window_size", config["failure_threshold"])
        settings["failure_rate_threshold"] = config["failure_threshold"] / most
        settings["minimum_calls"] = most
    return settings


class Adapter:
    """Performs the steps of one case."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.clock = VirtualClock()
        self.registry = Registry(clock=self.clock, listeners=())
        self.config = config
        self.settings = settings_of(config)
        self.in_flight: dict[str, Any] = {}
        self.events: list[Any] = []
        self.transitions: list[str] = []
        self.base: dict[str, int] = {}
        self.refused: list[CircuitOpenError] = []
        self.admitted: list[bool] = []
        self.handles: dict[str, Any] = {}
        self.functions: dict[str, Any] = {}
        self.outcome = ""
        self.states: dict[str, CircuitState] = {}

    def handle(self, key: str = "") -> Any:
        if key not in self.handles:
            name = f"case[{key}]"

            @circuit_breaker(name, registry=self.registry, **self.settings)
            async def call() -> None:
                self.admitted.append(True)

            self.functions[key] = call
            handle = self.handles[key] = driven(self.registry.circuit_breakers[name])
            initial = self.config.get("initial_state", "closed")
            if initial != "closed":
                {"open": handle.trip, "metrics_only": handle.metrics_only}[initial]()
            self.states[key] = handle.state
            handle.on_transition(lambda event: self.hear(key, event))
            self.begin_period(key)
        return self.handles[key]

    def hear(self, key: str, event: Any) -> None:
        self.events.append(event)
        new = {
            CircuitOpened: CircuitState.OPEN,
            CircuitHalfOpened: CircuitState.HALF_OPEN,
            CircuitClosed: CircuitState.CLOSED,
        }.get(type(event))
        if type(event) is CircuitModeSet and event.state != "reset":
            new = CircuitState(event.state)
        if new is not None:
            self.transitions.append(f"{self.states[key]}->{new}")
            self.states[key] = new
            self.begin_period(key)

    def begin_period(self, key: str) -> None:
        stats = self.handles[key].stats()
        self.base = {
            "calls": stats.total_calls - stats.neutral,
            "failures": stats.total_failures,
            "slow": stats.slow,
        }

    # -- steps

    def admit(self, step: dict[str, Any]) -> Any:
        handle = self.handle(step.get("key", ""))
        try:
            ticket = handle.admit(self.clock.now())
        except CircuitOpenError as error:
            self.refused.append(error)
            self.admitted.append(False)
            return None
        self.admitted.append(True)
        return handle, ticket, self.clock.now()

    async def call_cancelled(self) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await self.functions[""]()
        self.outcome = "cancelled" if scope.cancelled_caught else "answered"

    def finish(self, call: Any, outcome: str, step: dict[str, Any]) -> None:
        handle, ticket, started = call
        now = self.clock.now()
        if outcome == "ok":
            handle.succeeded(ticket, now, now - started)
        elif outcome == "fail":
            fault = verdict(ErrorType.INTERNAL_ERROR, retry_after=step.get("retry_after"))
            handle.failed(ticket, now, now - started, FailureError(step.get("kind", "error")), fault)
        else:
            handle.released(ticket)

    def do(self, step: dict[str, Any]) -> None:
        what = step["do"]
        outcome = {"call_ok": "ok", "call_fail": "fail", "call_ignored_error": "ignored", "call_cancelled": "ignored"}
        if step.get("caller_cancelled"):
            anyio.run(self.call_cancelled)
        elif what in outcome:
            for _ in range(step.get("n", 1)):
                call = self.admit(step)
                if call is not None:
                    self.clock.advance(step.get("duration", 0))
                    self.finish(call, outcome[what], step)
        elif what == "start":
            ids = step["id"] if isinstance(step["id"], list) else [step["id"]]
            for each in ids:
                self.in_flight[each] = self.admit(step)
        elif what.startswith("finish_"):
            self.finish(self.in_flight.pop(step["id"]), {"finish_ok": "ok", "finish_fail": "fail"}.get(what, ""), step)
        elif what == "advance":
            self.clock.advance(step["seconds"])
        elif what == "listener_raises":
            self.handle().on_transition(lambda event: 1 / 0)
        elif what == "listener_reenters":
            self.handle().on_transition(lambda event: (self.handle().state, self.handle().stats(), repr(self.handle())))
        elif what in {"construct", "check", "wall_step"}:  # no wall clock is read anywhere
            self.handle()
        else:
            getattr(self.handle(), what)()

    # -- expectations

    def expect(self, expected: dict[str, Any], step: dict[str, Any], before: dict[str, int]) -> None:
        handle = self.handle(step.get("key", ""))
        stats = handle.stats()
        for name, value in expected.items():
            if name == "state":
                assert stats.state in (value if isinstance(value, list) else [value])
            elif name == "admitted":
                assert set(self.admitted) == {value}
            elif name == "executed":
                assert sum(self.admitted) == value
            elif name == "reason":
                assert {error.reason for error in self.refused} == {value}
            elif name == "retry_after":
                assert stats.retry_after == (pytest.approx(value) if value is not None else None)
            elif name == "transitions":
                assert self.transitions == value
            elif name == "last_error_kind":
                assert [error.__cause__.text for error in self.refused] == [value]  # type: ignore[union-attr]
            elif name == "outcome":
                assert self.outcome == value
            elif name == "counts":
                self.expect_counts(value, stats)
            elif name == "events":
                self.expect_events(value, stats, before)
            else:
                raise AssertionError(f"no check for {name}")

    def expect_counts(self, expected: dict[str, Any], stats: Any) -> None:
        calls = stats.total_calls - stats.neutral - self.base["calls"]
        failures, slow = stats.total_failures - self.base["failures"], stats.slow - self.base["slow"]
        if self.config["mode"] != "consecutive" and stats.state is CircuitState.CLOSED:
            calls, failures, slow = stats.window_calls, stats.window_failures, stats.window_slow
        known = calls >= self.settings["minimum_calls"] and calls > 0
        seen = {
            "calls": calls,
            "failures": failures,
            "successes": calls - failures,
            "slow": slow,
            "consecutive_failures": stats.current_failure_count,
            "failure_rate": failures / calls if known else None,
            "rejected": stats.rejected,
            "late": stats.late,
            "opens": stats.opened_count,
            "probes_in_flight": stats.probes_in_flight,
        }
        for name, value in expected.items():
            assert (name, seen[name]) == (name, value if value is None else pytest.approx(value))

    def expect_events(self, expected: dict[str, int], stats: Any, before: dict[str, int]) -> None:
        failed = stats.total_failures - before["failures"]
        seen = {
            "error": failed,
            "success": stats.total_calls - before["calls"] - (stats.neutral - before["neutral"]) - failed,
            "ignored_error": stats.neutral - before["neutral"],
            "late_result": stats.late - before["late"],
            "rejected": stats.rejected - before["rejected"],
            "reset": sum(event == CircuitModeSet(event.name, "reset") for event in self.events),
            "state_change": len(self.transitions),
            "failure_rate_exceeded": sum(type(event) is CircuitWouldOpen for event in self.events),
            "slow_rate_exceeded": sum("slow" in getattr(event, "reason", "") for event in self.events),
        }
        for name, value in expected.items():
            assert (name, seen[name]) == (name, value)

    def run(self, steps: list[dict[str, Any]]) -> None:
        for step in steps:
            expected = dict(step.get("expect", {}))
            raises = expected.pop("raises", None)
            self.admitted, self.refused, self.transitions, self.events = [], [], [], []
            if raises is not None:
                with pytest.raises(ValueError):
                    self.do(step)
                if raises == "config_error":
                    continue
            else:
                stats = self.handle(step.get("key", "")).stats()
                before = {
                    "calls": stats.total_calls,
                    "failures": stats.total_failures,
                    "late": stats.late,
                    "neutral": stats.neutral,
                    "rejected": stats.rejected,
                }
                self.do(step)
                self.expect(expected, step, before)
                continue
            self.expect(expected, step, {})


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    Adapter(case["config"]).run(case["steps"])
