"""
Make locks and calls in flight safe in a forked child, which has only the thread that forked.

A worker server forks after the application was imported. A lock that another thread of the parent held at that time
would stay locked in the child for ever, and the parent's calls never end there. There are two solutions, depending on
what a lock guards:

`start_over_after_fork`: for counts that may be off by one. The child makes new locks and forgets calls in flight; the
fork does not wait. There may be ten thousand such states.

`hold_while_forking`: for data that must be consistent, such as an index with its rows, or a database. The fork waits
for each lock, so that no change is in progress, and the child gets the locks free. There are few of them, and none is
held for long.
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
    """Let `thing` start over in every child, as long as it exists."""
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
        rank: Locks are acquired in the order of their ranks, lowest first, which is how the code nests them.
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
