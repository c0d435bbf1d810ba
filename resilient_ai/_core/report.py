"""What a state reports: one line of the registry's table, and the counts behind it."""

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
    One line of the registry's table; None is shown as a blank. Columns have the same meaning in every row.

    Attributes:
        call_site: Name of the state: the function, and the endpoint or key in brackets.
        policy: The decorator, or "endpoint".
        state: Its live state, in a few words.
        calls: Calls that have ended: `ok`, `failed`, `neutral` and `degraded` together.
        ok: Calls answered by the layers below.
        failed: Calls that raised.
        retried: Attempts after the first, in all of these calls.
        degraded: Calls that a fallback answered.
        p95: Seconds that 95 of 100 recent answers did not exceed.
        neutral: Calls that tell nothing about the provider: cancelled, throttled, the caller's own mistake.
        alarm: Whether the state keeps calls away from a provider, or an operator has changed it.
        more: Further columns by heading; a column in which all rows are blank is left out.
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
    A count of good calls. With a GIL they are counted without a lock: CPython does not switch threads between two calls
    or jumps. A fast path, which needs a GIL too, adds to `ok` itself.

    All kinds of state use one class, because the interpreter's inline caches hold one class for each place.
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
        """Return the count and set it to zero in one step, so that no concurrent count is lost."""
        if LOCK_FREE:
            ok, self.ok = self.ok, 0
        else:
            with _counting:
                ok, self.ok = self.ok, 0
        return ok


_counting = threading.RLock()  # one lock for all, held for one addition; reentrant, because a signal handler may count


def _free_lock() -> None:
    global _counting
    _counting = threading.RLock()


in_child(_free_lock)


def plain_stats(stats: Any) -> Any:
    """Statistics as plain JSON values, including the common numbers of all kinds."""
    names = ("calls", "ok", "failed", "neutral")  # fields or properties
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
