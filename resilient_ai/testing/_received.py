"""The record of a fake provider: its requests with their outcomes, and its open connections."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Literal

from resilient_ai._core.public import public


@public("testing")
@dataclass(slots=True)
class Received:
    """
    One request that the provider received. Its repr shows neither prompt nor key.

    Attributes:
        method: Its method.
        path: Its path, without the query.
        body: The JSON body as data; None without one.
        headers: Its headers, names in lower case; values of keys are removed.
        at: When it came, in seconds on the provider's clock.
        stream: Whether the client asked for a stream.
        fault: Name of its fault; None for a normal answer.
        status: Status that was sent; None if none was.
        items: Pieces of a stream that were sent.
        state: "open" while it is answered, then "done", or "left" if the client left first.
    """

    method: str
    path: str
    body: Any = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    at: float
    stream: bool = False
    fault: str | None = None
    status: int | None = None
    items: int = 0
    state: Literal["open", "done", "left"] = "open"


class RequestLog:
    """The requests of one provider, written by the server's thread and read by a test; `changed` reports changes."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.requests: list[Received] = []
        self.connections = 0

    def add(self, received: Received) -> None:
        with self.changed:
            self.requests.append(received)
            self.changed.notify_all()

    def end(self, received: Received, state: Literal["done", "left"]) -> None:
        """Record how a request ended; only the first call counts."""
        with self.changed:
            if received.state == "open":
                received.state = state
                self.changed.notify_all()

    def connected(self, connections: int) -> None:
        with self.changed:
            self.connections += connections
            self.changed.notify_all()

    def news(self) -> None:
        """Wake the waiters of `until`."""
        with self.changed:
            self.changed.notify_all()
