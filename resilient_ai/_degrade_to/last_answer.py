"""`LastAnswer`: the provider's latest answer to exactly the same request, if it is not too old."""

from __future__ import annotations

import copy
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resilient_ai._core.checks import check_number
from resilient_ai._core.forks import start_over_after_fork
from resilient_ai._core.kinds import kind_of
from resilient_ai._core.public import public

from .call_key import scope_of
from .complete import ended_well
from .contract import NO_ANSWER, FailedCall, Recalled
from .digest import NoScope, digest, fields_of

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_PARTS: Final = 10_000  # most parts of an answer that are read to estimate its size: about 5 ms


@public("types")
@dataclass(frozen=True, slots=True)
class LastAnswerStats:
    """
    The numbers of a memory of last answers.

    Attributes:
        entries: Answers kept.
        hits: Answers given.
        misses: Calls without a kept answer.
        too_old: Calls whose kept answer was older than max_age.
    """

    entries: int
    hits: int
    misses: int
    too_old: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """One answer, the time it was given, and its size in bytes."""

    answer: Any
    since: float
    size: int


@public()
class LastAnswer:
    """
    A rung of `degrade_to`: the last good answer to a call of one function with equal arguments.

    Arguments are compared by value, including all fields of an object whose class defines equality; other objects by
    identity. Answers are also kept apart by what the function carries besides its arguments: the instance of a method
    by identity (by its fields if it is hashed by them); closure cells, partial arguments and the fields of a callable
    object by value. Globals and context variables are not considered; see `scope`.

    Answers that did not end well (cut, refused, a tool call) or cannot be copied are not kept. All answers are kept in
    memory, and the least recently used is dropped first; of the calls, only digests are kept. Thread-safe; one object
    may serve several functions.

    Args:
        max_age: Seconds for which an answer may be used again. Default one day; None: no bound.
        max_entries: Most answers kept. Default 1,000.
        max_bytes: Most memory in bytes, roughly. Default 64 MiB.
        key: A function of the call whose result identifies the request, in place of the arguments: to leave out a
            request id, or to add a tenant that is not among the arguments. Default None: the arguments.
        scope: A function of the call whose result says who shares answers, such as `lambda call: call.instance.tenant`,
            in place of what the function carries. If it returns None, nothing is shared. Default None: what the
            function carries.

    Raises:
        ValueError: A bad setting.
    """

    def __init__(
        self,
        *,
        max_age: float | None = 86_400.0,
        max_entries: int = 1_000,
        max_bytes: int = 64 << 20,
        key: Callable[[FailedCall], Any] | None = None,
        scope: Callable[[FailedCall], Any] | None = None,
    ) -> None:
        check_number("max_age", max_age, above=0, optional=True)
        check_number("max_entries", max_entries, least=1, whole=True)
        check_number("max_bytes", max_bytes, least=1, whole=True)
        for name, function in (("key", key), ("scope", scope)):
            if function is not None and not callable(function):
                raise ValueError(f"{name} must be a function of the call or None, got {kind_of(function)}")
        self.max_age = max_age
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self._key = key
        self._scope = scope
        # Reentrant: a signal handler may read the registry while its own thread holds the lock.
        self._lock = threading.RLock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0
        self._secret = os.urandom(16)  # secret, so that texts cannot be tried against the digests
        self._hits = self._misses = self._too_old = 0
        start_over_after_fork(self)

    def _after_fork(self) -> None:
        """In a forked child: a free lock."""
        self._lock = threading.RLock()

    def recall(self, call: FailedCall) -> Any:
        """The kept answer with its age, or `NO_ANSWER`."""
        key = self._key_of(call)
        with self._lock:
            kept = self._kept.get(key) if key is not None else None
            if key is None or kept is None:
                self._misses += 1
                return NO_ANSWER
            age = max(0.0, call.now - kept.since)
            if self.max_age is not None and age > self.max_age:
                self._too_old += 1
                self._drop(key)
                return NO_ANSWER
            self._kept.move_to_end(key)
            self._hits += 1
        return Recalled(copy.deepcopy(kept.answer), age=age)

    def remember(self, call: FailedCall, answer: Any) -> None:
        """Keep an answer that ended well; a later one to the same call replaces it."""
        if not ended_well(answer):
            return
        secret, key, size = self._secret, self._key_of(call), _size_of(answer)
        if key is None or size > self.max_bytes:
            return
        try:
            own = copy.deepcopy(answer)
        except Exception:  # noqa: BLE001 - a lock, a socket, a __deepcopy__ of the user's: not to be kept
            return
        with self._lock:
            if secret is not self._secret:
                return  # forget() was called meanwhile
            self._drop(key)
            self._kept[key] = _Kept(own, call.now, size)
            self._bytes += size
            while len(self._kept) > self.max_entries or self._bytes > self.max_bytes:
                self._drop(next(iter(self._kept)))

    def forget(self) -> None:
        """Drop every answer, and all digests of calls."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0
            self._secret = os.urandom(16)

    def stats(self) -> LastAnswerStats:
        """The current numbers."""
        with self._lock:
            return LastAnswerStats(len(self._kept), self._hits, self._misses, self._too_old)

    def _drop(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= kept.size

    def _key_of(self, call: FailedCall) -> str | None:
        """Return the key of a call; None if equal calls cannot be identified, so that its answer is not kept."""
        what = dict(call.arguments) if self._key is None else self._key(call)
        try:
            if self._scope is None:
                return digest(call.function, scope_of(call).digest, what, key=self._secret)
            scope = self._scope(call)
            return None if scope is None else digest(call.function, scope, what, key=self._secret)
        except NoScope:
            return None

    def __repr__(self) -> str:
        age = "any age" if self.max_age is None else f"up to {self.max_age:g} s old"
        return f"<LastAnswer {age}: {len(self._kept)} of {self.max_entries} entries>"


def _size_of(answer: Any) -> int:
    """Bytes that an answer needs, roughly; for very many parts, extrapolated from the first ones."""
    if type(answer) is str:
        return sys.getsizeof(answer)
    size, left, seen = 0, [answer], set[int]()
    while left and len(seen) < _MOST_PARTS:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        try:
            size += sys.getsizeof(part, 64)
        except Exception:  # noqa: BLE001 - a __sizeof__ of the user's
            size += 64
        if isinstance(part, list | tuple | set | frozenset):
            left.extend(part)
        elif isinstance(part, Mapping):
            left.extend(part.keys())
            left.extend(part.values())
        elif not isinstance(part, str | bytes | int | float | type):
            left.extend(fields_of(part).values())
    return size if not left else size * (len(seen) + len(left)) // len(seen)
