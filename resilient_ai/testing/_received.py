"""What a pretend provider saw: its requests, how each ended, and how many connections are open."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Literal

from resilient_ai._core.public import public


@public("testing")
@dataclass(slots=True)
class Received:
    """
    One request, as the provider saw it. Its repr shows neither prompt nor key.

    Attributes:
        method: Of the request.
        path: Of the request, without its query.
        body: The JSON body as data; None without one.
        headers: Names in lower case; the values of keys are taken out.
        at: Seconds on the provider's clock.
        stream: Whether the client asked for a stream.
        fault: Name of the fault it got; None for a normal answer.
        status: Status that was sent; None if none was.
        items: Pieces of a stream that were sent.
        state: "open" while it is answered, then "done", or "left" if the client went away first.
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
    """The requests of one provider, written by the server's thread and read by a test's; `changed` tells of news."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.requests: list[Received] = []
        self.connections = 0

    def add(self, received: Received) -> None:
        with self.changed:
            self.requests.append(received)
            self.changed.notify_all()

    def end(self, received: Received, state: Literal["done", "left"]) -> None:
        """Note how a request ended; the first to say so is right."""
        with self.changed:
            if received.state == "open":
                received.state = state
                self.changed.notify_all()

    def connected(self, connections: int) -> None:
        with self.changed:
            self.connections += connections
            self.changed.notify_all()

    def news(self) -> None:
        """Wake whoever waits for something to become true."""
        with self.changed:
            self.changed.notify_all()
