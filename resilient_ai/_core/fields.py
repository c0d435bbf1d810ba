"""What an object of somebody else's says under a name, when nothing is known of its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def read(thing: object, name: str) -> Any:
    """An attribute, None when there is none or when it raises (httpx: ResponseNotRead)."""
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - an SDK's property may raise
        return None


def field_of(thing: Any, name: str) -> Any:
    """An entry of a dictionary, an attribute of anything else; None when there is none or when it raises."""
    # A dictionary first: to ask for a `Mapping` takes longer.
    if isinstance(thing, dict) or isinstance(thing, Mapping):  # noqa: SIM101
        return thing.get(name)
    return read(thing, name)
