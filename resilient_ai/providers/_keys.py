"""The keys that an SDK's client holds, so that no message shows them."""

from __future__ import annotations

from typing import Any

_NAMES = (
    "api_key", "admin_api_key", "auth_token", "access_token", "_azure_ad_token", "webhook_secret",
    "aws_access_key", "aws_secret_key", "aws_session_token",
)  # fmt: skip


def keys_of(client: Any) -> tuple[str, ...]:
    """What a client of the user's own was given as a key or token; nothing for no client."""
    found = (_read(inner, name) for inner in (client, _read(client, "_api_client")) for name in _NAMES)
    return tuple(value for value in found if isinstance(value, str))


def _read(thing: Any, name: str) -> Any:
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a property of an SDK's may raise
        return None
