"""Forked children: every lock is held while a process forks, so that a child gets whole states and free locks."""

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
    Take `lock` before a fork and give it back after it, in both processes, as long as `owner` lives.

    Args:
        owner: Whose lock it is; one per owner.
        lock: A lock or a condition.
        rank: Locks are taken from the lowest up, in the order in which the code nests them.
        in_child: What else the child has to do, before the lock is free. Must not keep `owner` alive.
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
