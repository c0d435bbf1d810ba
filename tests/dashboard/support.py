"""Requests to an ASGI app without a server, and a program that has something to show."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from resilient_ai import Endpoint, Registry, circuit_breaker, classified_retry, degrade_to, failover

US, EU = Endpoint("us-east"), Endpoint("eu-west")


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def login(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def request(
    app, path: str = "/", method: str = "GET", body: bytes = b"", headers: dict[str, str] | None = None, **scope: Any
) -> Reply:
    path, _, query = path.partition("?")
    sent: list[Any] = []
    given = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    about = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": given,
        "client": ("10.1.2.3", 1),
        **scope,
    }
    parts = [body[: len(body) // 2], body[len(body) // 2 :]]

    async def receive():
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    await app(about, receive, send)
    start, *rest = sent
    told = {name.decode(): value.decode() for name, value in start["headers"]}
    return Reply(start["status"], told, b"".join(each["body"] for each in rest))


async def act(app, kind="circuit_breaker", name="ask[us-east]", do="force_open", process=None, headers=None, **given):
    """An action as the page sends it."""
    if process is None:
        process = (await request(app, "/snapshot.json", headers=headers)).json()["process"]
    body = json.dumps({"kind": kind, "name": name, "do": do, "process": process}).encode()
    sent = {"x-resilient-ai": "1", "sec-fetch-site": "same-origin", **(headers or {}), **given}
    return await request(app, "/actions", "POST", body, sent)


def program(registry: Registry, fn: Any):
    """A function with four policies over two endpoints."""
    ask = circuit_breaker("ask", failure_threshold=2, registry=registry)(fn)
    ask = failover(US, EU, name="ask", strategy="priority", registry=registry)(ask)
    ask = classified_retry("ask", max_attempts=1, registry=registry)(ask)
    return degrade_to("sorry", name="ask", registry=registry)(ask)
