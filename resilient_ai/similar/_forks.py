"""Locks are held while the process forks, so that the child gets consistent state and free locks."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _release(child=False),
        after_in_child=lambda: _release(child=True),
    )
