"""The name of a state, with its parts: the call site, the endpoint and the key."""

from __future__ import annotations

from typing import Any, Self


class StateName(str):
    """
    The name of a state, such as `"summarize[us-east]"`.

    Args:
        text: The name.
        call_site: The decorated function, or the name given to its decorator; None for a state that call sites share.
        endpoint: The endpoint that the state is about, or None.
        key: The value of `key=` as text, or None.
    """

    __slots__ = ("call_site", "endpoint", "key")

    call_site: str | None
    endpoint: str | None
    key: str | None

    def __new__(
        cls, text: str, call_site: str | None = None, endpoint: str | None = None, key: str | None = None
    ) -> Self:
        name = super().__new__(cls, text)
        name.call_site, name.endpoint, name.key = call_site, endpoint, key
        return name

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)  # in another process it is a plain string


class Identified:
    """An object with the name of a state, and its parts."""

    __slots__ = ()

    name: Any

    @property
    def call_site(self) -> str | None:
        """The decorated function, or the name given to its decorator; None for a state that call sites share."""
        return part_of(self.name, "call_site")

    @property
    def endpoint(self) -> str | None:
        """The endpoint that this is about; None if it is about a whole call site."""
        return part_of(self.name, "endpoint")

    @property
    def key(self) -> str | None:
        """The value of `key=` as text; None without keys."""
        return part_of(self.name, "key")


class StateHandle(Identified):
    """Base class of the handles by which users read and control states."""

    __slots__ = ()

    def _reconfigure(self, config: Any) -> None:
        """Use other settings from now on. Does nothing if the state does not use settings."""


def place_of(name: str) -> tuple[str | None, str | None]:
    """Call site and endpoint in a state's name; quick, for thousands of names."""
    if type(name) is StateName:
        return name.call_site, name.endpoint
    return part_of(name, "call_site"), part_of(name, "endpoint")


def part_of(name: str, part: str) -> str | None:
    """One part of a state's name. In a plain string, the call site is everything before a bracket."""
    if isinstance(name, StateName):
        found: str | None = getattr(name, part)
        return found
    return name.partition("[")[0] if part == "call_site" else None
