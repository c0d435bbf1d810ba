"""The live page as one ASGI app. All links are relative, so it may be mounted under any prefix."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from resilient_ai._core.forks import start_over_after_fork
from resilient_ai._core.public import public

from . import _actions
from ._access import asked
from ._log import EventLines
from ._snapshot import settings, snapshot

if TYPE_CHECKING:
    from resilient_ai._registry import Registry

    from ._access import Check, Scope

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[["Scope", Receive, Send], Awaitable[None]]

_MOST_BODY = 4096  # most bytes of an action
_FILES = {"": ("index.html", "text/html"), "app.js": ("app.js", "text/javascript"), "app.css": ("app.css", "text/css")}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@public("dashboard")
def dashboard(registry: Registry, *, view: Check, act: Check | None = None, title: str = "resilient_ai") -> App:
    """
    A page that shows the states of a registry, and lets operators act on them.

    The page polls once a second, without an open connection, and loads nothing from other servers.

    Args:
        registry: The registry to show.
        view: Called with the ASGI scope before anything is shown: `basic(user, password)`, `bearer(token)`, `anyone`,
            or your own function, sync or async. True or the person's name allows, everything else refuses. There is no
            default: a mounted app does not inherit the access control of the application around it.
        act: Called with the scope and an `Action` before each action; True or the person's name allows it. Default
            None: actions are not possible, and have no route.
        title: Title of the page. Default "resilient_ai".

    Returns:
        An ASGI app, to be mounted or served.
    """
    return _Dashboard(registry, view, act, title)


class _Dashboard:
    def __init__(self, registry: Registry, view: Check, act: Check | None, title: str) -> None:
        self._registry = registry
        self._view = view
        self._act = act
        self._title = title
        self._after_fork()
        start_over_after_fork(self)
        self._lines = EventLines()
        registry.subscribe(self._lines.hear, level="info")

    def _after_fork(self) -> None:
        # Workers forked from one process have separate states.
        self._process = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        viewer = await asked(self._view, scope)
        if not viewer:
            challenge = getattr(self._view, "challenge", None)
            more = {"www-authenticate": challenge} if challenge else {}
            await _send(scope, send, 401 if challenge else 403, {"error": "not allowed to look"}, **more)
            return
        path = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        if scope["method"] == "POST" and path == "actions" and self._act is not None:
            await self._do(scope, receive, send, viewer)
        elif scope["method"] not in ("GET", "HEAD"):
            await _send(scope, send, 405, {"error": "this page is only read"}, allow="GET, HEAD")
        elif path == "" and not scope["path"].endswith("/"):  # relative links need the trailing slash
            await _send(scope, send, 307, b"", location=scope["path"].rpartition("/")[2] + "/")
        elif path == "snapshot.json":
            await _send(scope, send, 200, self._snapshot(scope["query_string"]))
        elif path == "settings.json":
            await _send(scope, send, 200, {"process": self._process, "functions": settings(self._registry)})
        elif (file := _FILES.get(path)) is not None:
            body = files("resilient_ai.dashboard").joinpath("static", file[0]).read_bytes()
            await _send(scope, send, 200, body, kind=f"{file[1]}; charset=utf-8")
        else:
            await _send(scope, send, 404, {"error": "nothing here"})

    def _snapshot(self, query: bytes) -> dict[str, Any]:
        """The data that changes each second, with the events since the version that the page has."""
        process, _, version = unquote(query.decode("latin-1")).removeprefix("after=").rpartition("~")
        known = int(version) if process == self._process and version.isdecimal() and len(version) < 16 else 0
        return {
            "process": self._process,
            "title": self._title,
            "at": time.time(),  # noqa: TID251 - for people to read
            "actions": _actions.ACTIONS if self._act is not None else {},
            "events": self._lines.since(known),
            **snapshot(self._registry, self._lines.why),
        }

    async def _do(self, scope: Scope, receive: Receive, send: Send, viewer: str | bool) -> None:
        try:
            # A form or a link of another site cannot send this header without a CORS preflight, which this app refuses.
            headers = dict(scope["headers"])
            site = headers.get(b"sec-fetch-site", b"same-origin")
            if headers.get(b"x-resilient-ai") != b"1" or site != b"same-origin":
                raise _actions.RefusedError(403, "that did not come from this page")
            action = _actions.read(await _body(receive), self._process)
            actor = await asked(self._act, scope, action) if self._act is not None else None
            if not actor:
                raise _actions.RefusedError(403, f"you may not {action.do.replace('_', ' ')} this")
            who = next((each for each in (actor, viewer) if isinstance(each, str)), None)
            _actions.perform(self._registry, action, who or _client(scope))
        except _actions.RefusedError as refused:
            await _send(scope, send, refused.status, {"error": refused.why, "process": self._process})
            return
        await _send(scope, send, 200, {"done": True, "process": self._process})


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return f"somebody at {client[0]}" if client else "somebody"


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _actions.RefusedError(400, "the request was not sent to its end")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > _MOST_BODY:
            raise _actions.RefusedError(413, f"an action has at most {_MOST_BODY} bytes")
    return body


async def _send(
    scope: Scope, send: Send, status: int, body: bytes | dict[str, Any], kind: str = "application/json", **more: str
) -> None:
    whole = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {**_HEADERS, "content-type": kind, "content-length": str(len(whole))}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else whole})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
