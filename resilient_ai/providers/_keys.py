"""The keys that an SDK's client holds, so that no message shows them."""

from __future__ import annotations

from typing import Any

_NAMES = (
    "api_key", "admin_api_key", "auth_token", "access_token", "_azure_ad_token", "webhook_secret",
    "aws_access_key", "aws_secret_key", "aws_session_token",
)  # fmt: skip


def keys_of(*clients: Any) -> tuple[str, ...]:
    """
    What clients of the user's own were given as keys or tokens.

    Args:
        clients: Those of an endpoint; None among them has nothing.

    Returns:
        Each once: an endpoint with one key has the same credential, however many clients hold it.
    """
    holders = [inner for client in clients for inner in (client, _read(client, "_api_client"))]
    found = [_read(holder, name) for holder in holders for name in _NAMES]
    return tuple(dict.fromkeys(value for value in found if isinstance(value, str)))


def _read(thing: Any, name: str) -> Any:
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a property of an SDK's may raise
        return None
