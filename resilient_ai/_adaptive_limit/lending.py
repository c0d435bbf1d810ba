"""
Nested calls that use the permits of the calls around them.

A function that calls itself would wait for a permit that the outer call holds, while the outer call waits for the
inner one. The outer call does not use the provider meanwhile, so it lends its permit to one nested call at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .permit import Permit


class Lending:
    """
    Which permit is lent to which: chains, because a nested call may in turn lend what it has borrowed.

    Attributes:
        nested_of: The permit of each nested call, by the permit of the outer one.
    """

    __slots__ = ("_outer_of", "nested_of")

    def __init__(self) -> None:
        self.nested_of: dict[Permit, Permit] = {}
        self._outer_of: dict[Permit, Permit] = {}  # by the nested permit

    def __contains__(self, permit: Permit) -> bool:
        return permit in self.nested_of or permit in self._outer_of

    def __iter__(self) -> Iterator[Permit]:
        return iter({*self.nested_of, *self._outer_of})

    def is_lent(self, permit: Permit) -> bool:
        """Return whether a nested call uses this permit."""
        return permit in self.nested_of

    def has_lent_to(self, permit: Permit) -> bool:
        """Return whether the call of this permit uses another one."""
        return permit in self._outer_of

    def lend(self, outer: Permit, nested: Permit) -> None:
        """Let `nested` use the permit of `outer`."""
        self.nested_of[outer], self._outer_of[nested] = nested, outer

    def end(self, permit: Permit) -> tuple[Permit | None, Permit | None]:
        """
        End the lending of a call that is over; what it had borrowed passes to the call that it had lent to.

        Returns:
            The permit it had borrowed and the permit it had lent to, None where there is none.
        """
        outer, nested = self._outer_of.pop(permit, None), self.nested_of.pop(permit, None)
        if outer is not None:
            del self.nested_of[outer]
        if nested is not None:
            del self._outer_of[nested]
            if outer is not None:
                self.lend(outer, nested)
        return outer, nested
