"""`LastAnswer`: what the provider said to exactly this request the last time, if that is not too long ago."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilient_ai._core.checks import check_number
from resilient_ai._core.frozen import UnkeyableError, frozen
from resilient_ai._core.public import public

from .call_key import call_key
from .contract import NO_ANSWER, FailedCall, Recalled

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


@public("types")
@dataclass(frozen=True, slots=True)
class LastAnswerStats:
    """
    What a memory of last answers holds and has given.

    Attributes:
        entries: Answers kept now.
        hits: Answers given.
        misses: Calls for which none was kept.
        too_old: Calls for which the kept one was older than max_age.
    """

    entries: int
    hits: int
    misses: int
    too_old: int


@public()
class LastAnswer:
    """
    A rung of `degrade_to`: the last good answer to a call with equal arguments, of one function and equal instance.

    Arguments are compared by value; objects whose class does not say when they are equal, by identity. Answers that
    cannot be copied are not kept. Everything is in memory, the least recently used goes first. Thread-safe; one
    object may serve several functions.

    Args:
        max_age: Seconds for which an answer may be given again. Default one day; None: no bound.
        max_entries: Answers kept. Default 1,000.
        key: What tells calls apart in place of their arguments, by a function of the call: to leave out a request
            id, or to add a tenant that is not among the arguments.

    Raises:
        ValueError: A bad setting.
    """

    def __init__(
        self,
        *,
        max_age: float | None = 86_400.0,
        max_entries: int = 1_000,
        key: Callable[[FailedCall], Hashable] | None = None,
    ) -> None:
        check_number("max_age", max_age, above=0, optional=True)
        check_number("max_entries", max_entries, least=1, whole=True)
        if key is not None and not callable(key):
            raise ValueError(f"key must be a function of the call or None, got a {type(key).__qualname__}")
        self.max_age = max_age
        self.max_entries = max_entries
        self._key = key
        self._lock = threading.RLock()  # a signal handler may read the registry, as in `CircuitBreaker`
        self._kept: OrderedDict[Hashable, tuple[Any, float]] = OrderedDict()
        self._hits = self._misses = self._too_old = 0

    def recall(self, call: FailedCall) -> Any:
        """The kept answer with its age, or `NO_ANSWER`."""
        key = self._key_of(call)
        with self._lock:
            kept = self._kept.get(key) if key is not None else None
            if kept is None:
                self._misses += 1
                return NO_ANSWER
            answer, since = kept
            age = max(0.0, call.now - since)
            if self.max_age is not None and age > self.max_age:
                self._too_old += 1
                del self._kept[key]
                return NO_ANSWER
            self._kept.move_to_end(key)
            self._hits += 1
        return Recalled(copy.deepcopy(answer), age=age)

    def remember(self, call: FailedCall, answer: Any) -> None:
        """Keep an answer; a later one to the same call replaces it."""
        key = self._key_of(call)
        if key is None:
            return
        try:
            own = copy.deepcopy(answer)
        except Exception:  # noqa: BLE001 - a lock, a socket, a __deepcopy__ of the user's: not to be kept
            return
        with self._lock:
            self._kept[key] = own, call.now
            self._kept.move_to_end(key)
            if len(self._kept) > self.max_entries:
                self._kept.popitem(last=False)

    def forget(self) -> None:
        """Drop every answer."""
        with self._lock:
            self._kept.clear()

    def stats(self) -> LastAnswerStats:
        """The numbers of this moment."""
        with self._lock:
            return LastAnswerStats(len(self._kept), self._hits, self._misses, self._too_old)

    def _key_of(self, call: FailedCall) -> Hashable | None:
        try:
            return call_key(call) if self._key is None else (call.function, frozen(self._key(call)))
        except UnkeyableError:
            return None

    def __repr__(self) -> str:
        age = "any age" if self.max_age is None else f"up to {self.max_age:g} s old"
        return f"<LastAnswer {age}: {len(self._kept)} of {self.max_entries} entries>"
