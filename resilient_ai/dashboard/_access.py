"""Who may look, and who may act."""

from __future__ import annotations

import base64
import binascii
import hmac
import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from resilient_ai._core.public import public

Scope = MutableMapping[str, Any]
Answer = bool | str | None  # a name says who it is; False and None refuse
Check = Callable[..., Answer | Awaitable[Answer]]


@public("dashboard")
def anyone(_scope: Scope) -> bool:
    """Let everybody look who reaches the page: for a machine of your own, or behind a proxy that asks."""
    return True


@public("dashboard")
def basic(user: str, password: str) -> Callable[[Scope], str | None]:
    """
    Ask for a name and a password, as browsers do.

    Args:
        user: The name; events of actions carry it.
        password: Not empty.

    Raises:
        ValueError: The user has a colon, or one of both is empty.
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
    Ask for a token, as programs and proxies send it.

    Args:
        token: Not empty.
        name: Who has it; events of actions carry it.

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
    """What a check says, sync or async; whatever is no name and not True refuses."""
    said = check(*about)
    if inspect.isawaitable(said):
        said = await said
    if isinstance(said, str) and said:
        return said
    return said is True


def _header(scope: Scope, name: bytes) -> bytes:
    found: bytes = next((value for key, value in scope["headers"] if key.lower() == name), b"")
    return found
