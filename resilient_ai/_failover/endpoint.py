"""Endpoints: what the decorated function is handed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from resilient_ai._core.known_secrets import keep_secret
from resilient_ai._core.public import public


@runtime_checkable
class Named(Protocol):
    """What `failover` asks of an endpoint."""

    @property
    def name(self) -> str:
        """Unique among the endpoints of one failover; equal names share one health."""
        ...


class Twin:
    """What a plain function is handed in place of an endpoint that has to be awaited: the base of such classes."""


@public()
class Endpoint:
    """
    A plain endpoint: a name, and whatever the decorated function wants to know of it.

    `failover` itself reads `weight`, `context_window` (tokens) and `provider`, where they are given.

    Args:
        name: Unique among the endpoints of one failover. Call sites that use an endpoint of the same name share
            what is known of its health.
        attributes: Kept as attributes.

    >>> eu = Endpoint("eu-west", base_url="https://eu.example/v1", weight=2.0)
    >>> eu.base_url
    'https://eu.example/v1'
    >>> eu
    Endpoint('eu-west', base_url=…, weight=2.0)
    """

    def __init__(self, name: str, /, **attributes: Any) -> None:
        given: object = name
        if not isinstance(given, str) or not given:
            raise ValueError(f"name of an endpoint must be a non-empty string, got {name!r}")
        if "name" in attributes:
            raise ValueError(f"endpoint {name!r} has its name already; call the attribute otherwise")
        self.name = name
        self.__dict__.update(attributes)
        if attributes:
            keep_secret(self, attributes=attributes)

    if TYPE_CHECKING:

        def __getattr__(self, attribute: str) -> Any: ...

    def __repr__(self) -> str:
        # Any attribute may be a key or contain one, so only numbers and a few well-known names are shown.
        shown = [
            f"{key}={value!r}" if _harmless(key, value) else f"{key}=…"
            for key, value in self.__dict__.items()
            if key != "name"
        ]
        return f"Endpoint({', '.join([repr(self.name), *shown])})"


_PLAIN = re.compile(r"\A(?:region|model|provider)\Z")


def _harmless(key: str, value: object) -> bool:
    return isinstance(value, int | float) or value is None or (isinstance(value, str) and bool(_PLAIN.match(key)))
