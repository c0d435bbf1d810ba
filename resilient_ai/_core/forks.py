"""
What a forked child does not have: the threads that held a lock, and the calls that were in flight.

A worker server forks after the application was imported. A lock that another thread of the parent held at that moment
stays locked in the child for ever, and a call of the parent's never ends there. Two ways out, by what a lock guards:

`start_over_after_fork`: numbers that may be one behind. The child makes new locks and forgets calls in flight; the fork
waits for nobody. There may be ten thousand such states.

`hold_while_forking`: what must be whole, such as an index beside its rows, or a database. The fork waits for each lock,
so that nobody is in the middle of a change, and the child gets them free. There are few, and none is held for long.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Protocol

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


class _Held:
    __slots__ = ("__weakref__", "in_child", "lock", "rank")

    def __init__(self, lock: Any, rank: int, in_child: Callable[[], None] | None) -> None:
        self.lock = lock
        self.rank = rank
        self.in_child = in_child


_held: weakref.WeakKeyDictionary[object, _Held] = weakref.WeakKeyDictionary()
_guard = threading.Lock()
_holding: list[_Held] = []


def hold_while_forking(owner: object, lock: Any, *, rank: int, in_child: Callable[[], None] | None = None) -> None:
    """
    Acquire `lock` before each fork and release it afterwards in both processes, as long as `owner` lives.

    Args:
        owner: The object that the lock belongs to; one lock per owner.
        lock: A lock or a condition.
        rank: Locks are acquired from the lowest rank up, which is the order in which the code nests them.
        in_child: Called in the child before the lock is released. Must not keep `owner` alive.
    """
    with _guard:
        _held[owner] = _Held(lock, rank, in_child)


def _before() -> None:
    _guard.acquire()
    _holding.extend(sorted(_held.values(), key=lambda each: each.rank))
    for each in _holding:
        each.lock.acquire()


def _release(*, child: bool) -> None:
    for each in reversed(_holding):
        if child and each.in_child is not None:
            each.in_child()
        each.lock.release()
    _holding.clear()
    _guard.release()


def _start_over() -> None:
    _release(child=True)
    for each in list(_known):
        each._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=lambda: _release(child=False), after_in_child=_start_over)
