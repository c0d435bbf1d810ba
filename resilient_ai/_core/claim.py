"""The registry's entry for each state: the state, its users, and the settings of its decorator."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .callables import Place
    from .report import Row


class Handle(Protocol):
    """State of one policy under one name, as the registry needs it."""

    @property
    def name(self) -> str: ...
    def row(self) -> Row: ...
    def stats(self) -> Any: ...
    def reset(self) -> None: ...
    def _after_fork(self) -> None: ...
    def _reconfigure(self, config: Any) -> None: ...


class KeyedHandle(Handle, Protocol):
    """State of one key of a keyed policy; the registry drops unused ones."""

    def _idle(self, now: float) -> float:
        """Seconds without a call; -1 while the state must be kept, because it protects a provider or callers."""
        ...

    def _overdue(self, now: float) -> float:
        """Seconds that a state that must be kept has waited for a call that could release it; -1 otherwise."""
        ...

    def _unused(self, now: float) -> float:
        """Seconds without a call in any state; -1 for one that an operator has set."""
        ...


_OWN_REFERENCES = 2  # the claim's reference, and that of the call that asks


class KeyClaim:
    """
    A state for one value of `key=`, and the settings of its decorator.

    It holds nothing else, because there may be ten thousand of them.
    """

    __slots__ = ("config", "handle")

    def __init__(self, handle: Any, config: object) -> None:
        self.handle = handle
        self.config = config

    @property
    def site(self) -> str:
        """The call site, by whose name its settings are changed; empty for a state that call sites share."""
        return self.handle.call_site or ""

    def is_of_an_earlier_run(self, place: Place | None) -> bool:  # noqa: ARG002
        """Whether only earlier runs of a place have used it; never for a key, because no place has claimed it."""
        return False


class Claim(KeyClaim):
    """A state that call sites use by its name, the settings of their decorators, and the layers that use it."""

    __slots__ = ("other_places", "outermost", "place", "users")

    def __init__(self, handle: Any, config: object) -> None:
        super().__init__(handle, config)
        self.users = 0
        self.outermost = 0  # number of functions whose outermost policy has this state
        self.place: Place | None = None  # place of the function that uses it
        self.other_places: tuple[Place, ...] = ()  # the others, if several functions share it

    def is_unheld(self) -> bool:
        """Whether no layer and no other object refers to the state; without a GIL the answer may come too late."""
        return sys.getrefcount(self.handle) <= _OWN_REFERENCES

    def used_at(self, place: Place) -> None:
        if self.place is None or place.runs_again(self.place):
            self.place = place
        elif not any(place[:2] == each[:2] and place.code is each.code for each in (self.place, *self.other_places)):
            self.other_places = (*(each for each in self.other_places if not place.runs_again(each)), place)

    def is_of_an_earlier_run(self, place: Place | None) -> bool:
        """Whether only earlier runs of a place have used it."""
        return place is not None and self.place is not None and place.runs_again(self.place) and not self.other_places
