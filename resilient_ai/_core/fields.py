"""Read a field of an object of an unknown class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def read(thing: object, name: str) -> Any:
    """An attribute; None if there is none, or if reading it raises (httpx: ResponseNotRead)."""
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - an SDK's property may raise
        return None


def field_of(thing: Any, name: str) -> Any:
    """An entry of a dictionary, an attribute of anything else; None if there is none, or if reading it raises."""
    # Check for a dict first: the check for a `Mapping` takes longer.
    if isinstance(thing, dict) or isinstance(thing, Mapping):  # noqa: SIM101
        return thing.get(name)
    return read(thing, name)
