"""Endpoints: what the decorated function is called with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from resilient_ai._core.known_secrets import keep_secret
from resilient_ai._core.public import public


@runtime_checkable
class Named(Protocol):
    """What `failover` requires of an endpoint."""

    @property
    def name(self) -> str:
        """Unique among the endpoints of one failover; equal names share one health."""
        ...


class Twin:
    """Base class of what a plain function gets in place of an endpoint that has to be awaited."""


@public()
class Endpoint:
    """
    A simple endpoint: a name, and any attributes that the decorated function needs.

    `failover` itself reads the attributes `weight`, `context_window` (tokens), `model` and `provider`, if given.

    Args:
        name: Unique among the endpoints of one failover. Call sites that use an endpoint of the same name share
            its health.
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
            raise ValueError(f"endpoint {name!r} has a name already; give the attribute another name")
        self.name = name
        self.__dict__.update(attributes)
        if attributes:
            keep_secret(self, attributes=attributes)

    if TYPE_CHECKING:

        def __getattr__(self, attribute: str) -> Any: ...

    def __repr__(self) -> str:
        # Any attribute may be or contain an API key, so only numbers and a few well-known names are shown.
        shown = [
            f"{key}={value!r}" if _harmless(key, value) else f"{key}=…"
            for key, value in self.__dict__.items()
            if key != "name"
        ]
        return f"Endpoint({', '.join([repr(self.name), *shown])})"


_PLAIN = re.compile(r"\A(?:region|model|provider)\Z")


def _harmless(key: str, value: object) -> bool:
    return isinstance(value, int | float) or value is None or (isinstance(value, str) and bool(_PLAIN.match(key)))
