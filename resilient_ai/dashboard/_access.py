"""Access control of the page: who may view it, and who may act."""

from __future__ import annotations

import base64
import binascii
import hmac
import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from resilient_ai._core.public import public

Scope = MutableMapping[str, Any]
Answer = bool | str | None  # a string is the person's name; False and None refuse
Check = Callable[..., Answer | Awaitable[Answer]]


@public("dashboard")
def anyone(_scope: Scope) -> bool:
    """Allow everybody who can reach the page: for your own machine, or behind a proxy with access control."""
    return True


@public("dashboard")
def basic(user: str, password: str) -> Callable[[Scope], str | None]:
    """
    Require a user name and a password (HTTP basic authentication).

    Args:
        user: The name, which events of actions contain.
        password: The password, not empty.

    Raises:
        ValueError: The user contains a colon, or either is empty.
    """
    if not user or not password or ":" in user:
        raise ValueError("basic needs a user without a colon and a password, neither of them empty")
    wanted = f"{user}:{password}".encode()

    def check(scope: Scope) -> str | None:
        scheme, _, given = _header(scope, b"authorization").partition(b" ")
        try:
            told = base64.b64decode(given.strip(), validate=True) if scheme.lower() == b"basic" else b""
        except binascii.Error:
            told = b""
        return user if hmac.compare_digest(told, wanted) else None

    check.challenge = 'Basic realm="resilient_ai", charset="UTF-8"'  # type: ignore[attr-defined]
    return check


@public("dashboard")
def bearer(token: str, name: str = "bearer") -> Callable[[Scope], str | None]:
    """
    Require a bearer token, as programs and proxies send it.

    Args:
        token: The token, not empty.
        name: Name of its owner, which events of actions contain. Default "bearer".

    Raises:
        ValueError: The token is empty.
    """
    if not token:
        raise ValueError("bearer needs a token that is not empty")
    wanted = token.encode()

    def check(scope: Scope) -> str | None:
        scheme, _, given = _header(scope, b"authorization").partition(b" ")
        return name if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), wanted) else None

    check.challenge = "Bearer"  # type: ignore[attr-defined]
    return check


async def asked(check: Check, *about: Any) -> Answer:
    """The result of a check, sync or async; anything except a name or True refuses."""
    said = check(*about)
    if inspect.isawaitable(said):
        said = await said
    if isinstance(said, str) and said:
        return said
    return said is True


def _header(scope: Scope, name: bytes) -> bytes:
    found: bytes = next((value for key, value in scope["headers"] if key.lower() == name), b"")
    return found
