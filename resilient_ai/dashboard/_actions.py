"""The actions that an operator may perform from the page: a fixed table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from resilient_ai._core.events import OperatorActed
from resilient_ai._core.public import public

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_ai._registry import Registry

ACTIONS: dict[str, dict[str, str]] = {
    "circuit_breaker": {
        "trip": "Open now, for a normal recovery period; it probes and comes back by itself.",
        "force_open": "Refuse every call until somebody takes that back.",
        "force_closed": "Let calls through again, its counts from zero.",
        "disable": "Let every call through and count nothing, until somebody takes that back.",
        "metrics_only": "Let every call through and count, but never open, until somebody takes that back.",
        "reset": "Back to normal: closed, every number at zero.",
    },
    "endpoint": {
        "mark_down": "Send nothing there until it is marked up.",
        "mark_up": "Back in rotation at once, its rests forgotten.",
    },
}


@public("dashboard")
class Action(NamedTuple):
    """
    An action that a person requests; `act=` decides about each.

    Attributes:
        kind: "circuit_breaker" or "endpoint".
        name: Name of the state.
        do: "trip", "force_open", "force_closed", "disable", "metrics_only", "reset"; "mark_down", "mark_up".
    """

    kind: str
    name: str
    do: str


class RefusedError(Exception):
    """An action is refused, with the HTTP status for the answer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


def read(body: bytes, process: str) -> Action:
    """
    Parse the action in a request.

    Raises:
        RefusedError: It is not in the table, or is for another process.
    """
    try:
        told = json.loads(body)
        action = Action(str(told["kind"]), str(told["name"]), str(told["do"]))
        meant = told["process"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RefusedError(400, "an action has kind, name, do and process") from None
    if action.do not in ACTIONS.get(action.kind, {}):
        raise RefusedError(400, "there is no such action")
    if meant != process:
        # The page came from another worker of the same service, with other states.
        raise RefusedError(409, "another process answered")
    return action


def perform(registry: Registry, action: Action, by: str) -> None:
    """
    Perform an action, and send an event with the person's name.

    Raises:
        RefusedError: The state no longer exists, or refuses the action.
    """
    handles: Mapping[str, Any] = registry.endpoints if action.kind == "endpoint" else registry.circuit_breakers
    if action.name not in handles:
        raise RefusedError(404, "that state is no longer there")
    handle = handles[action.name]
    try:
        getattr(handle, action.do)()
    except ValueError as error:
        raise RefusedError(409, str(error)) from None
    registry.emit(OperatorActed(handle.name, action.kind, action.do, by))
