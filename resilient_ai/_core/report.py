"""What a state tells people: one line of the registry's table, and the counts behind it."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from .backend import LOCK_FREE
from .forks import in_child
from .public import public


@public("types")
@dataclass(frozen=True, slots=True)
class Row:
    """
    One line of the registry's table; None is shown as a blank. Columns mean the same in every row.

    Attributes:
        call_site: Name of the state: the function, and the endpoint or key in brackets.
        policy: The decorator, or "endpoint".
        state: How it is doing, in a few words.
        calls: Calls that have ended: `ok`, `failed`, `neutral` and `degraded` together.
        ok: Those that were answered from below.
        failed: Those that raised.
        retried: Attempts after the first, in all of these calls.
        degraded: Calls that a fallback answered.
        p95: Seconds that 95 of 100 recent answers did not exceed.
        neutral: Calls that say nothing about the provider: cancelled, throttled, the caller's own mistake.
        alarm: Whether the state keeps calls away from a provider, or an operator has changed it.
        more: Columns that not every table has, by their heads; one where all rows are blank is left out.
    """

    call_site: str
    policy: str
    state: str
    calls: int
    ok: int | None = None
    failed: int | None = None
    retried: int | None = None
    degraded: int | None = None
    p95: float | None = None
    neutral: int | None = None
    alarm: bool = False
    more: Mapping[str, str | None] = field(default_factory=dict, hash=False)


class SuccessCount:
    """
    Good calls. Where only one thread runs at a time they are counted without a lock: between two calls or jumps
    CPython does not switch threads. A fast path, which there is only then, adds to `ok` itself.

    It is one class for every kind of state, because the interpreter's caches know one class at a place.
    """

    __slots__ = ("ok",)

    def __init__(self) -> None:
        self.ok = 0

    def one_more(self) -> None:
        """Count a good call."""
        if LOCK_FREE:
            self.ok += 1
        else:
            with _counting:
                self.ok += 1

    def take(self) -> int:
        """The count, from zero again in the same step: nothing is lost that is counted meanwhile."""
        if LOCK_FREE:
            ok, self.ok = self.ok, 0
        else:
            with _counting:
                ok, self.ok = self.ok, 0
        return ok


_counting = threading.RLock()  # one for all, and held for one addition; reentrant, as a signal handler may count


def _free_lock() -> None:
    global _counting
    _counting = threading.RLock()


in_child(_free_lock)


def plain_stats(stats: Any) -> Any:
    """Statistics as plain JSON values, with what those of every kind have under the same names."""
    names = ("calls", "ok", "failed", "neutral")  # be it as a field or as a property
    return _plain({name: getattr(stats, name) for name in names if hasattr(stats, name)} | asdict(stats))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, str | int | float | bool | None) else str(value)
