"""`Index`: turns answers into entries of a store, and finds the entry that may answer a question."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._embedders import Space
from ._features import Features, features
from ._forks import hold_while_forking
from ._guard import difference
from ._question import looks_personal, looks_secret
from ._store import Entry
from ._trigrams import TrigramEmbedder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ._question import Question
    from ._store import StoreProtocol, Vector

_CANDIDATES = 32
_EQUAL = 0.01  # similarities this close count as equal; the newest of these entries answers
_LARGEST = 4  # one question with its answer takes at most max_bytes divided by this


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer on its way to the store."""

    question: Question
    answer: str
    at: float
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
        *,
        threshold: float | None,
        guard: Any,
        store_text: bool,
        max_bytes: int,
        allow_unsafe: bool,
    ) -> None:
        self._store = store
        self._space = space
        own = TrigramEmbedder.default_threshold
        least = threshold if space is None or threshold is None else max(threshold, own)
        self.trigrams = Space(TrigramEmbedder(), least, allow_unsafe=allow_unsafe)
        self._guard = guard
        self._store_text = store_text
        self._largest = max_bytes // _LARGEST
        self._lock = threading.Lock()
        hold_while_forking(self, self._lock, rank=3)
        self.added = self.store_errors = self.embedder_errors = 0
        self.skipped: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def skip(self, reason: str) -> None:
        """Count an answer that was not written."""
        with self._lock:
            self.skipped[reason] += 1

    # -- writing

    def add(self, drafts: list[Draft]) -> None:
        """Check drafts and write them; errors of the store or the embedder are only counted."""
        taken = [draft for draft in drafts if self._takes(draft)]
        if not taken:
            return
        try:
            entries = self._entries(taken)
            self._store.put(entries)
        except Exception:  # noqa: BLE001 - no caller waits for this thread; the counts report the error
            with self._lock:
                self.store_errors += 1
                self.skipped["error"] += len(taken)
        else:
            with self._lock:
                self.added += len(taken)

    def _takes(self, draft: Draft) -> bool:
        text = draft.question.text
        if len(draft.answer) + len(text) > self._largest:
            reason = "too large"
        elif any(map(looks_secret, (text, draft.answer, *_strings(json.loads(draft.answer))))):
            reason = "secret"
        elif looks_personal(text):
            reason = "personal"
        else:
            return True
        self.skip(reason)
        return False

    def _entries(self, drafts: list[Draft]) -> list[Entry]:
        texts = [draft.question.text for draft in drafts]
        vectors: list[dict[str, Vector]] = [{} for _ in drafts]
        for found, vector in zip(vectors, self.trigrams.embed(texts), strict=True):
            if vector is not None:
                found[self.trigrams.id] = vector
        if self._space is not None:
            for found, vector in zip(vectors, self._own_vectors(self._space, drafts), strict=True):
                if vector is not None:
                    found[self._space.id] = vector
        return [
            Entry(
                partition=draft.question.partition,
                owner=draft.question.owner,
                key=draft.question.key,
                vectors=found,
                answer=draft.answer,
                at=draft.at,
                text=draft.question.text if self._store_text else None,
                features=None if self._store_text else _packed(draft.question),
            )
            for draft, found in zip(drafts, vectors, strict=True)
        ]

    def _own_vectors(self, space: Space, drafts: list[Draft]) -> Sequence[Vector | None]:
        if space.remote:
            return [draft.vector for draft in drafts]
        try:
            return space.embed([draft.question.text for draft in drafts])
        except Exception:  # noqa: BLE001 - an embedder of the user's; the trigrams serve instead
            with self._lock:
                self.embedder_errors += 1
            return [None] * len(drafts)

    # -- searching

    def search(self, question: Question, vector: Vector | None, since: float) -> tuple[float, Entry] | None:
        """The answer for a question, given after `since`, with its similarity."""
        try:
            return self._search(question, vector, since)
        except Exception:  # noqa: BLE001 - a store that is down means no answer
            with self._lock:
                self.store_errors += 1
            return None

    def _search(self, question: Question, vector: Vector | None, since: float) -> tuple[float, Entry] | None:
        same = self._store.exact(question.partition, question.key)
        if same is not None and same.at >= since:
            self._touch(same)
            return 1.0, same
        if not _comparable(question.text):
            return None
        found = None
        if vector is not None and self._space is not None:
            found = self._best(self._space, question, vector, since)
        if found is None:
            own = self.trigrams.embed([question.text])[0]
            without = self._space.id if vector is not None and self._space is not None else None
            if own is not None:
                found = self._best(self.trigrams, question, own, since, without=without)
        if found is not None:
            self._touch(found[1])
        return found

    def _best(
        self, space: Space, question: Question, vector: Vector, since: float, *, without: str | None = None
    ) -> tuple[float, Entry] | None:
        """The newest of the most similar entries that the guard accepts."""
        top, best = 0.0, None
        for similarity, entry in self._store.nearest(
            question.partition, space.id, vector, space.threshold, _CANDIDATES
        ):
            if similarity < top - _EQUAL:
                break
            late = entry.at < since or (best is not None and entry.at <= best[1].at)
            if late or (without is not None and without in entry.vectors):
                continue
            reason = self._refuses(question, entry)
            if reason is not None:
                with self._lock:
                    self.refused[reason] += 1
            else:
                top, best = top or similarity, (similarity, entry)
        return best

    def _refuses(self, question: Question, entry: Entry) -> str | None:
        guard = self._guard
        if guard is None:
            return None
        if callable(guard):
            reason: Any = guard(question.text, entry.text)
            if reason is not None and not isinstance(reason, str):
                raise TypeError(f"a guard must return a reason to refuse or None, got {reason!r}")
            return reason
        asked = features(question.text)
        if entry.text is not None:
            return difference(asked, features(entry.text), strict=guard == "strict")
        if entry.features is None:
            return "unknown"
        return difference(asked.digested(_digest_with(question)), _unpacked(entry.features), strict=guard == "strict")

    def _touch(self, entry: Entry) -> None:
        touch = getattr(self._store, "touch", None)
        if touch is not None:
            touch(entry)


def check_guard(guard: Any, *, store_text: bool) -> None:
    """
    Check the setting `guard=`.

    Raises:
        ValueError: Not one of the four kinds, or a function that would get no text because none is stored.
    """
    if guard is not None and guard not in ("default", "strict") and not callable(guard):
        raise ValueError(f"guard must be 'default', 'strict', a function of two texts or None, got {guard!r}")
    if callable(guard) and not store_text:
        raise ValueError(
            "a guard of your own compares texts, which store_text=False does not keep; use one or the other"
        )


def _comparable(text: str) -> bool:
    """Whether similarity says anything: a question of one word (a name, an id) is only equal to itself."""
    return len(text.split()) > 1 or any(ord(sign) > 0x2E7F for sign in text)


def _strings(value: Any) -> Iterator[str]:
    """Every string in an answer; in the JSON text, escapes may hide where a word begins."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value if isinstance(value, list) else (*value, *value.values()):
            yield from _strings(each)


def _digest_with(question: Question) -> Any:
    key = question.partition.encode()[:64]

    def of_word(word: str) -> str:
        return hashlib.blake2b(word.encode("utf-8", "surrogatepass"), key=key, digest_size=6).hexdigest()

    return of_word


def _packed(question: Question) -> str:
    digested = features(question.text).digested(_digest_with(question))
    plain = {
        each.name: sorted(value) if isinstance(value := getattr(digested, each.name), frozenset) else value
        for each in dataclasses.fields(digested)
    }
    return json.dumps(plain, separators=(",", ":"))


def _unpacked(text: str) -> Features:
    plain = json.loads(text)
    return Features(**{name: _KINDS[kind](value) for name, value, kind in _typed(plain)})


def _typed(plain: dict[str, Any]) -> list[tuple[str, Any, str]]:
    return [(each.name, plain[each.name], str(each.type).partition("[")[0]) for each in dataclasses.fields(Features)]


def _deep(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_KINDS: dict[str, Any] = {
    "tuple": lambda value: tuple(map(_deep, value)),
    "frozenset": lambda value: frozenset(map(_deep, value)),
    "str": str,
    "int": int,
}
