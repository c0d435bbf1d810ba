"""The name of a state, which knows what it is made of: the call site, the endpoint and the key."""

from __future__ import annotations

from typing import Any, Self


class StateName(str):
    """
    What a state is called, `"summarize[us-east]"` say.

    Args:
        text: The name.
        call_site: The decorated function, or the name that its decorator was given; None for what call sites share.
        endpoint: The endpoint that the state is about, if it is about one.
        key: What `key=` gave, as text.
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
        return str, (str(self),)  # in another process it is a name like any other


class Identified:
    """Something with the name of a state: it says what that state is about."""

    __slots__ = ()

    name: Any

    @property
    def call_site(self) -> str | None:
        """The decorated function, or the name that its decorator was given; None for what call sites share."""
        return part_of(self.name, "call_site")

    @property
    def endpoint(self) -> str | None:
        """The endpoint that this is about; None where it is about a whole call site."""
        return part_of(self.name, "endpoint")

    @property
    def key(self) -> str | None:
        """What `key=` gave, as text; None without keys."""
        return part_of(self.name, "key")


class StateHandle(Identified):
    """What a person holds of a state."""

    __slots__ = ()

    def _reconfigure(self, config: Any) -> None:
        """Go on with other settings. A handle whose state looks at none has nothing to do."""


def place_of(name: str) -> tuple[str | None, str | None]:
    """Call site and endpoint in a state's name; for those who ask about thousands."""
    if type(name) is StateName:
        return name.call_site, name.endpoint
    return part_of(name, "call_site"), part_of(name, "endpoint")


def part_of(name: str, part: str) -> str | None:
    """One part of a state's name. A plain name is the call site's; one that was made by hand, up to a bracket."""
    if isinstance(name, StateName):
        found: str | None = getattr(name, part)
        return found
    return name.partition("[")[0] if part == "call_site" else None
