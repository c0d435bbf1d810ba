"""
What a forked child does not have: the threads that held a lock, and the calls that were in flight.

A worker server forks after the application was imported. A lock that another thread of the parent held at that moment
stays locked in the child for ever, and a call of the parent's never ends there.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class StartsOver(Protocol):
    """Has locks or calls in flight."""

    def _after_fork(self) -> None:
        """In a forked child: free locks, and no calls in flight. What was learnt stays."""


_known: weakref.WeakSet[StartsOver] = weakref.WeakSet()


def start_over_after_fork(thing: StartsOver) -> None:
    """Let `thing` start over in every child, as long as somebody has it."""
    _known.add(thing)


def in_child(start_over: Callable[[], None]) -> None:
    """Call `start_over` in every child from now on."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=start_over)


def _start_over() -> None:
    for each in list(_known):
        each._after_fork()


in_child(_start_over)
