"""`Index`: turns answers into entries of a store, and finds the entry that may answer a question."""

from __future__ import annotations

import json
import threading
from collections import Counter, OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resilient_ai._core.forks import hold_while_forking

from ._codec import NotStorable, decode
from ._embedders import Space
from ._features import features
from ._guard import difference
from ._question import LONGEST, looks_personal, looks_secret
from ._remembered import Budget, RememberedFeatures, TooMuchWork, digested, packed
from ._store import Entry
from ._threads import Overloaded
from ._trigrams import TrigramEmbedder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ._features import Features
    from ._question import Question
    from ._store import StoreProtocol, Vector
    from ._threads import Threads
    from ._vectors import Vectors

_CANDIDATES = 32
_EQUAL = 0.01  # similarities this close count as equal; the newest entry is used
_INLINE = 1_000  # characters of questions that may be read in an event loop: 2 to 4 ms
_FORGOTTEN = 1_000  # most forgotten scopes that are kept in mind, whose drafts may still be pending
_LARGEST = 4  # one question with its answer takes at most max_bytes divided by this
# Least and most bytes for features of remembered questions, within which it is a part of max_bytes.
_FEATURES_BYTES = 1 << 20, 64 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """An answer that may be used."""

    similarity: float
    entry: Entry
    answer: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer that is to be written to the store."""

    question: Question
    answer: str
    at: float
    epoch: int = 0  # epoch of the index when the draft was made
    vector: Vector | None = None


class Index:
    """
    Writes drafts and searches for answers. Thread-safe.

    Every entry has a trigram vector, and a vector of the embedder in `space` if that could read the text. Two
    questions are compared by the embedder's vectors; by trigrams only where one of them has no such vector.
    """

    def __init__(
        self,
        store: StoreProtocol,
        space: Space | None,
        vectors: Vectors | None,
        *,
        threshold: float | None,
        guard: Any,
        store_text: bool,
        max_bytes: int,
        allow_unsafe: bool,
        background: Threads,
    ) -> None:
        self._store = store
        self._background = background
        self._space = space
        self._vectors = vectors
        own = TrigramEmbedder.default_threshold
        least = threshold if space is None or threshold is None else max(threshold, own)
        self.trigrams = Space(TrigramEmbedder(), least, allow_unsafe=allow_unsafe)
        self._guard = guard
        self._store_text = store_text
        self._largest = max_bytes // _LARGEST
        self._lock = threading.RLock()  # reentrant: a signal handler may read the counts at any time
        hold_while_forking(self, self._lock, rank=3)
        self._features = RememberedFeatures(min(max(_FEATURES_BYTES[0], max_bytes // 16), _FEATURES_BYTES[1]))
        self.added = self.store_errors = 0
        self.epoch = 0
        self._forgotten: OrderedDict[str | None, int] = OrderedDict()  # owner → the latest forgotten epoch
        self.skipped: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def skip(self, reason: str) -> None:
        """Count an answer that was not written."""
        with self._lock:
            self.skipped[reason] += 1

    # -- writing

    def add(self, drafts: list[Draft]) -> None:
        """Check drafts and write them; errors of the store or the embedder are only counted."""
        ready = self._entries([draft for draft in drafts if self._takes(draft)])
        # Embedding takes time: answers forgotten meanwhile must not come back.
        taken = [entry for draft, entry in ready if not self._is_forgotten(draft)]
        if not taken:
            return
        try:
            self._store.put(taken)
        except BaseException:  # noqa: BLE001 - no caller waits for this thread; the counts report the error
            with self._lock:
                self.store_errors += 1
                self.skipped["error"] += len(taken)
        else:
            with self._lock:
                self.added += len(taken)
            self._prepare(taken[-1].partition)

    def _prepare(self, partition: str) -> None:
        """Let the store read beforehand what a question would wait for, in a thread: a write must not wait for it."""
        prepared = getattr(self._store, "prepared", None)
        if prepared is not None and not prepared(partition):
            with suppress(Overloaded):  # the first question has it read
                self._background.submit(self._prepared, partition)

    def _prepared(self, partition: str) -> None:
        store: Any = self._store
        try:
            store.prepare(partition)
        except Exception:  # noqa: BLE001 - nobody waits for it; the counts report the error
            with self._lock:
                self.store_errors += 1

    def _takes(self, draft: Draft) -> bool:
        try:
            reason = self._reason_to_skip(draft)
        except Exception:  # noqa: BLE001 - nothing in one answer may keep the others from being written
            reason = "error"
        if reason is not None:
            self.skip(reason)
        return reason is None

    def _reason_to_skip(self, draft: Draft) -> str | None:
        text = draft.question.text
        if len(draft.answer) + len(text) > self._largest:
            return "too large"
        if any(map(looks_secret, (text, draft.answer, *_strings(json.loads(draft.answer))))):
            return "secret"
        return "personal" if looks_personal(text) else None

    def _entries(self, drafts: list[Draft]) -> list[tuple[Draft, Entry]]:
        space, vectors = self._space, self._vectors
        own: Sequence[Vector | None] = [draft.vector for draft in drafts]
        if space is not None and vectors is not None and not space.remote:
            own = vectors.of_answers([draft.question.text for draft in drafts])
        made: list[tuple[Draft, Entry]] = []
        for draft, vector in zip(drafts, own, strict=True):
            try:
                made.append((draft, self._entry(draft, vector)))
            except Exception:  # noqa: BLE001 - nothing in one answer may keep the others from being written
                self.skip("error")
        return made

    def _entry(self, draft: Draft, vector: Vector | None) -> Entry:
        question = draft.question
        vectors = {} if vector is None or self._space is None else {self._space.id: vector}
        if (trigrams := self.trigrams.embed([question.text])[0]) is not None:
            vectors[self.trigrams.id] = trigrams
        return Entry(
            partition=question.partition,
            owner=question.owner,
            key=question.key,
            vectors=vectors,
            answer=draft.answer,
            at=draft.at,
            text=question.text if self._store_text else None,
            features=None if self._store_text or not comparable(question.text) else packed(question),
        )

    def forget(self, owner: str | None) -> None:
        """
        Drop cached data about questions outside the store, and do not write drafts made before.

        Args:
            owner: The owner of the drafts; None: all.
        """
        self._features.forget()
        with self._lock:
            self._forgotten[owner] = self.epoch
            self._forgotten.move_to_end(owner)
            if len(self._forgotten) > _FORGOTTEN:
                self._forgotten.popitem(last=False)
            self.epoch += 1

    def _is_forgotten(self, draft: Draft) -> bool:
        with self._lock:
            latest = max(self._forgotten.get(owner, -1) for owner in (None, draft.question.owner))
        return draft.epoch <= latest

    # -- searching

    def search(
        self,
        question: Question,
        vector: Vector | None,
        since: float,
        types: Mapping[str, type],
        *,
        inline: bool = False,
    ) -> Found | None:
        """
        The answer for a question.

        Args:
            question: The question.
            vector: The embedder's vector for the question, if it has one.
            since: The earliest time of an answer that may be used, in seconds since 1970.
            types: Classes that the answer may contain.
            inline: Whether this runs in an event loop, which must not be blocked.

        Raises:
            TooMuchWork: With `inline`, if the search has to run in a thread.
        """
        try:
            return self._search(question, vector, since, types, Budget(_INLINE if inline else None))
        except TooMuchWork:
            raise
        except Exception:  # noqa: BLE001 - a store that is down means no answer
            with self._lock:
                self.store_errors += 1
            return None

    def _search(
        self, question: Question, vector: Vector | None, since: float, types: Mapping[str, type], budget: Budget
    ) -> Found | None:
        search = _Search(question, since, types, budget)
        same = self._store.exact(question.partition, question.key)
        if same is not None and same.at >= since and (found := self._opened(1.0, same, search)) is not None:
            self._touch(same)
            return found
        if not comparable(question.text):
            return None
        budget.take(len(question.text))
        if vector is not None and self._space is not None:
            found = self._best(self._space, search, vector)
            if found is not None:
                self._touch(found.entry)
                return found
        own = self.trigrams.embed([question.text])[0]
        if own is None:
            return None
        without = self._space.id if vector is not None and self._space is not None else None
        found = self._best(self.trigrams, search, own, without=without)
        if found is not None:
            self._touch(found.entry)
        return found

    def _best(self, space: Space, search: _Search, vector: Vector, *, without: str | None = None) -> Found | None:
        """The newest of the most similar entries that the guard accepts."""
        top, best = 0.0, None
        partition = search.question.partition
        for similarity, entry in self._store.nearest(partition, space.id, vector, space.threshold, _CANDIDATES):
            if similarity < top - _EQUAL:
                break
            late = entry.at < search.since or (best is not None and entry.at <= best.entry.at)
            if late or entry.key in search.unreadable or (without is not None and without in entry.vectors):
                continue
            reason = self._refuses(search, entry)
            if reason is not None:
                with self._lock:
                    self.refused[reason] += 1
            elif (found := self._opened(similarity, entry, search)) is not None:
                top, best = top or similarity, found
        return best

    def _opened(self, similarity: float, entry: Entry, search: _Search) -> Found | None:
        """An entry with its answer decoded; None if its classes are not allowed, or it cannot be read."""
        try:
            return Found(similarity, entry, decode(entry.answer, search.types))
        except NotStorable:
            search.unreadable.add(entry.key)
            with self._lock:
                self.refused["type"] += 1
            return None

    def _refuses(self, search: _Search, entry: Entry) -> str | None:
        guard = self._guard
        if guard is None:
            return None
        if callable(guard):
            reason: Any = guard(search.question.text, entry.text)
            if reason is not None and not isinstance(reason, str):
                raise TypeError(f"a guard must return a reason to refuse or None, got {reason!r}")
            return reason
        remembered = self._features.of(entry, search.budget)
        if remembered is None:
            return "unknown"
        asked = search.asked() if entry.text is not None else search.asked_digested()
        return difference(asked, remembered, strict=guard == "strict")

    def _touch(self, entry: Entry) -> None:
        touch = getattr(self._store, "touch", None)
        if touch is not None:
            touch(entry)


class _Search:
    """One search, which computes the parts of its question once and keeps them until its end."""

    __slots__ = ("_asked", "_asked_digested", "budget", "question", "since", "types", "unreadable")

    def __init__(self, question: Question, since: float, types: Mapping[str, type], budget: Budget) -> None:
        self.question = question
        self.since = since
        self.types = types
        self.budget = budget
        self.unreadable: set[str] = set()
        self._asked: Features | None = None
        self._asked_digested: Features | None = None

    def asked(self) -> Features:
        if self._asked is None:
            self._asked = features(self.question.text)
        return self._asked

    def asked_digested(self) -> Features:
        if self._asked_digested is None:
            self._asked_digested = digested(self.question)
        return self._asked_digested


def check_guard(guard: Any, *, store_text: bool) -> None:
    """
    Check the setting `guard=`.

    Raises:
        ValueError: It is not one of the four kinds, or it is a function, but no texts are stored.
    """
    if guard is not None and guard not in ("default", "strict") and not callable(guard):
        raise ValueError(f"guard must be 'default', 'strict', a function of two texts or None, got {guard!r}")
    if callable(guard) and not store_text:
        raise ValueError(
            "a guard of your own compares texts, which store_text=False does not keep; use one or the other"
        )


def comparable(text: str) -> bool:
    """Whether similarity is meaningful: not for one word (a name, an id) or more than 4,000 characters."""
    return len(text) <= LONGEST and (len(text.split()) > 1 or any(ord(sign) > 0x2E7F for sign in text))


def _strings(value: Any) -> Iterator[str]:
    """Iterate over the strings in an answer; in JSON, escapes could hide the beginning of a word."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value if isinstance(value, list) else (*value, *value.values()):
            yield from _strings(each)
