"""`SimilarAnswers`: during an outage, answer with the earlier answer to a similar question."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Sized
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import anyio

from resilient_ai._core.checks import check_number
from resilient_ai._core.forks import hold_while_forking
from resilient_ai._core.public import public
from resilient_ai._degrade_to.call_key import scope_of
from resilient_ai._degrade_to.contract import NO_ANSWER, Recalled
from resilient_ai._degrade_to.digest import NoScope, digest

from ._answer_types import AnswerTypes
from ._codec import NotStorable, encode
from ._complete import is_whole
from ._embedders import require_numpy, space_of
from ._index import Draft, Index, check_guard
from ._memory import MemoryStore
from ._question import question_of
from ._remembered import TooMuchWork
from ._threads import Overloaded, Threads
from ._vectors import Vectors, in_flight_of_loop
from ._writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from resilient_ai._degrade_to.contract import FailedCall

    from ._embedders import Embedder, EmbedFunction
    from ._index import Found
    from ._question import Question
    from ._store import StoreProtocol, Vector

    Guard = Literal["default", "strict"] | Callable[[str, str], str | None] | None

_SETTLE_SECONDS = 1.0  # most seconds that a recall waits for answers being written; usually milliseconds
_SLOW_SETTLE_SECONDS = 0.25  # the same if an embedder may have a backlog
_LOOKUP_SECONDS = 5.0  # most seconds for a lookup in a store that may block
_LOOKUPS = 4  # threads for such lookups, and for waiting until answers are written
_LOOKUPS_WAITING = 1_000
_SHORT = 500  # most characters of a question that is searched in the event loop: 1 to 2 ms
_SLEPT_SECONDS = 60.0  # if wall time is ahead of the clock by more, the machine was asleep


@public("similar")
@dataclass(frozen=True, slots=True)
class SimilarStats:
    """
    The numbers of one memory.

    Attributes:
        entries: Answers kept; None if the store cannot tell.
        remembered: Answers written since the start.
        not_remembered: Answers not written, by reason: "incomplete", "not accepted", "no question", "no scope", "type",
            "too large", "secret", "personal", "closed", "error".
        recalled: Questions answered.
        misses: Questions not answered.
        refused: Candidates above the threshold that the guard refused, by reason.
        dropped: Answers lost because too many waited to be written, in the queue or for the file.
        store_errors: Times the store raised, or its file could not be read or written.
        embedder_errors: Times the embedder raised, was too late or overloaded, so that trigrams were used instead.
    """

    entries: int | None
    remembered: int
    not_remembered: dict[str, int]
    recalled: int
    misses: int
    refused: dict[str, int]
    dropped: int
    store_errors: int
    embedder_errors: int


@public("similar")
class SimilarAnswers:
    """
    A rung for `degrade_to` that remembers good answers and uses them for later questions with the same meaning.

    Needs `pip install 'resilient-ai[similar]'` (numpy). With `[minilm]` in addition, two to three times as many
    questions are answered, with the same precision.

    An answer is used for another call only if everything except the question is equal: the function, the object of a
    method, every other argument (including system prompt and earlier messages) and `scope`. A guard then refuses
    look-alikes: questions that differ in a number, a name, a date, a negation, an opposite or a direction. Only
    complete answers are remembered, and none whose question or text looks like it holds a key, a password or an
    account number.

    Args:
        path: SQLite file for the answers (mode 0600; several processes may share it). Default None: in memory.
        embedder: "auto" (MiniLM if installed, else trigrams), "trigrams", "minilm", an `Embedder`, or a function
            `(list[str]) -> list[vector]`, sync or async. An async one gets 0.3 s; if it fails, the trigrams are used,
            which are always kept too. Default "auto".
        threshold: Least cosine similarity. Default: the embedder's own, 0.88 for the two built-in ones and 0.94 for a
            function. Below 0.80 it needs `allow_unsafe=True`.
        guard: "default"; "strict": the content words must be the same, too; a function `(asked, remembered) ->
            reason to refuse or None`; or None for no guard.
        text: Which argument is the question: its name, or a function of the call. Default: the last user message of
            `messages`, else an argument with a usual name such as `prompt`, else the first string. A function must
            return a text that is unchanged in an argument; everything else in the arguments must be equal. A question
            of one word, or of more than 4,000 characters, is answered only by an equal one.
        scope: Who shares answers: a value, or a function of the call such as `lambda call: call.arguments["tenant"]`.
            A value is added to what the function carries besides its arguments: the instance of a method by identity
            (by its fields if it is hashed by them), closure cells, partial arguments and the fields of a callable
            object by value. A function replaces all that; with `path` or `store` it is required if something counts by
            identity, which other processes do not know. If it returns None, nothing is shared. Default: all callers
            with equal other arguments. Globals and context variables that the function reads are not considered.
        max_age: Seconds for which an answer may be used. Default one day.
        max_entries: Most answers kept; the largest scope loses answers first. Default 10,000. With a `path` and more
            than 20,000, answers stay in the file, and need about 64 bytes of memory each.
        max_bytes: Most bytes of memory or file for texts, answers and vectors, roughly. Default 64 MiB; increase it
            with `max_entries`. An answer to a short question needs about 3 KiB.
        store_text: Whether to store the question. False stores digests of its words; a vector still reveals much about
            it. Default True.
        accept: `(answer) -> bool`: answers for which it returns False are not remembered. All other rules still apply.
            Default None: only those.
        types: Dataclasses and pydantic models in the answers, if the function's return annotation does not name them.
            No other class is built from the content of a file or a server. Default: none.
        store: Your own store, in place of `path`. Default None: the file at `path`, or memory.
        allow_unsafe: Whether to accept a threshold below 0.80. Default False.

    Raises:
        ImportError: numpy, or a package for "minilm", is missing.
        ValueError: A bad setting.

    >>> from resilient_ai.similar import SimilarAnswers
    >>> SimilarAnswers(embedder="trigrams")
    <SimilarAnswers: 0 answers in memory, trigrams-448-2 from 0.88>
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        embedder: Literal["auto", "trigrams", "minilm"] | Embedder | EmbedFunction = "auto",
        threshold: float | None = None,
        guard: Guard = "default",
        text: str | Callable[[FailedCall], str | None] | None = None,
        scope: Any = None,
        max_age: float = 86_400.0,
        max_entries: int = 10_000,
        max_bytes: int = 64 << 20,
        store_text: bool = True,
        accept: Callable[[Any], bool] | None = None,
        types: Iterable[type] = (),
        store: StoreProtocol | None = None,
        allow_unsafe: bool = False,
    ) -> None:
        require_numpy()
        check_number("max_age", max_age, above=0)
        check_guard(guard, store_text=store_text)
        if text is not None and not isinstance(text, str) and not callable(text):
            raise ValueError(f"text must be an argument's name, a function of the call or None, got {text!r}")
        self._space = space_of(embedder, threshold, allow_unsafe=allow_unsafe)
        self._store = _store(path, store, max_age=max_age, max_entries=max_entries, max_bytes=max_bytes)
        self._vectors = Vectors(self._space) if self._space is not None else None
        self._lookups = Threads(most=_LOOKUPS, waiting=_LOOKUPS_WAITING)
        self._index = Index(
            self._store,
            self._space,
            self._vectors,
            threshold=threshold,
            guard=guard,
            store_text=store_text,
            max_bytes=max_bytes,
            allow_unsafe=allow_unsafe,
            background=self._lookups,
        )
        self._text, self._scope, self._accept, self._max_age = text, scope, accept, max_age
        self._types = AnswerTypes(types)
        self._writer: Writer[Draft] = Writer(self._index.add)
        self._lock = threading.RLock()  # reentrant: a signal handler may read the counts at any time
        hold_while_forking(self, self._lock, rank=4)
        self._recalled = self._misses = 0
        self._skipped: Counter[str] = Counter()
        self._epoch: float | None = None
        self._closed = False
        _open.add(self)
        self._finalizer = weakref.finalize(self, _abandon, self._writer, self._store)
        self._finalizer.atexit = False

    judges_answers: ClassVar = True  # so that its statistics show why an answer was not remembered

    def check_site(self, call: FailedCall) -> None:
        """
        Refuse a function whose callers cannot be told apart in another process.

        Raises:
            ValueError: The answers are kept in a file or on a server, and the function carries a client or an
                instance that is compared by identity only; `scope=` has to say who shares answers.
        """
        if isinstance(self._store, MemoryStore) or callable(self._scope):
            return
        by_identity = scope_of(call).by_identity
        if by_identity:
            raise ValueError(
                f"{self!r} outlives the process, and {call.function} carries what only this process can tell apart:"
                f" {', '.join(by_identity[:3])}; say who shares answers with scope= and a function of the call, such"
                " as lambda call: call.instance.tenant"
            )

    # -- remembering

    def remember(self, call: FailedCall, answer: Any) -> None:
        """
        Take in a good answer of the provider, without waiting.

        A background thread checks and writes it; up to 1,000 answers may wait, after that the oldest are dropped. An
        async embedder runs in a background task.
        """
        draft = self._draft(call, answer)
        if isinstance(draft, str):
            with self._lock:
                self._skipped[draft] += 1
            return
        vectors = self._vectors
        if vectors is None or not vectors.for_remembering(
            draft.question.text, lambda vector: self._offer(draft, vector)
        ):
            self._offer(draft)

    def _offer(self, draft: Draft, vector: Vector | None = None) -> None:
        if not self._writer.offer(draft if vector is None else replace(draft, vector=vector)):
            self._index.skip("closed")

    def _draft(self, call: FailedCall, answer: Any) -> Draft | str:
        """The draft to write, or the reason why the answer is not remembered."""
        if not is_whole(answer):
            return "incomplete"
        if self._accept is not None and not self._accept(answer):
            return "not accepted"
        try:
            question = question_of(call, self._text, self._scope)
        except NoScope:
            return "no scope"
        if question is None:
            return "no question"
        classes: set[type] = set()
        try:
            # Encode now: the caller may change the object afterwards.
            encoded = encode(answer, classes)
        except NotStorable:
            return "type"
        if classes:
            self._types.note(call.function, classes)
        return Draft(question, encoded, self._seconds(call), self._index.epoch)

    # -- recalling

    def recall(self, call: FailedCall) -> Any:
        """A `Recalled` answer or `NO_ANSWER`; an awaitable of it if the search has to wait."""
        try:
            question = question_of(call, self._text, self._scope)
        except NoScope:
            question = None
        if question is None:
            return self._counted(None)
        since = self._seconds(call) - self._max_age
        types = self._types.of(call.function, call.carried.function if call.carried is not None else None)
        if self._space is None and not self._writer.waiting and self._ready(question):
            try:
                return self._counted(self._index.search(question, None, since, types, inline=True), since)
            except TooMuchWork:
                pass
        return self._recall(question, since, types)

    async def _recall(self, question: Question, since: float, types: Mapping[str, type]) -> Any:
        if self._writer.waiting:
            await self._settle()
        vector = await self._vectors.of(question.text) if self._vectors is not None else None
        if self._ready(question):
            try:
                return self._counted(self._index.search(question, vector, since, types, inline=True), since)
            except TooMuchWork:
                pass
        found = None
        if not self._lookups.stuck(_LOOKUP_SECONDS):  # a store that hangs in all threads is not asked again
            with suppress(Overloaded), anyio.move_on_after(_LOOKUP_SECONDS):
                found = await self._lookups.run(self._index.search, question, vector, since, types)
        return self._counted(found, since)

    async def _settle(self) -> None:
        """Wait a short time until earlier answers are written; one thread waits for all callers of this loop."""
        in_flight, key = in_flight_of_loop(), (id(self), b"")
        pending = in_flight.get(key)
        seconds = _SETTLE_SECONDS if self._space is None else _SLOW_SETTLE_SECONDS
        with anyio.move_on_after(seconds):
            if pending is not None:
                await pending.wait()
                return
            pending = in_flight[key] = anyio.Event()
            try:
                with suppress(Overloaded):
                    await self._lookups.run(self._writer.flush, seconds)
            finally:
                in_flight.pop(key, None)
                pending.set()

    def _ready(self, question: Question) -> bool:
        """Whether a search takes at most a few milliseconds, so that no thread is needed."""
        ready = getattr(self._store, "ready", None)
        return ready is not None and len(question.text) <= _SHORT and bool(ready(question.partition))

    def _counted(self, found: Found | None, since: float = 0.0) -> Any:
        with self._lock:
            if found is None:
                self._misses += 1
                return NO_ANSWER
            self._recalled += 1
        age = max(0.0, since + self._max_age - found.entry.at)
        return Recalled(found.answer, similarity=min(1.0, found.similarity), age=age)

    # -- maintenance

    def forget(self, scope: Any = ..., *, timeout: float = 5.0) -> int:
        """
        Delete answers now, from memory and from the store.

        Args:
            scope: The value of `scope=` (or what its function returned) whose answers are deleted. Default: all.
            timeout: Seconds to wait for answers that are being written. Default 5.

        Returns:
            The number of answers deleted.
        """
        owner = None if scope is ... else digest(scope)
        self._writer.flush(timeout)
        self._index.forget(owner)
        if self._vectors is not None:
            self._vectors.forget()
        return self._store.forget(owner)

    def flush(self, timeout: float = 5.0) -> bool:
        """
        Wait until every remembered answer is written.

        Returns:
            False if that takes longer than `timeout` seconds, or while the store's file cannot be written.
        """
        return self._writer.flush(timeout) and not getattr(self._store, "unsaved", 0)

    def close(self, timeout: float = 5.0) -> None:
        """
        Write waiting answers, end the thread and close the store; later answers are not remembered. Runs at exit too.
        """
        self._finalizer.detach()
        deadline = time.monotonic() + timeout
        self._writer.close(timeout, self._store.close)
        for threads in (self._lookups, self._vectors):
            if threads is not None:
                threads.close(max(0.1, deadline - time.monotonic()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stats(self) -> SimilarStats:
        """The current numbers."""
        entries = len(self._store) if isinstance(self._store, Sized) else None
        with self._lock:
            return SimilarStats(
                entries=entries,
                remembered=self._index.added,
                not_remembered=dict(self._skipped + self._index.skipped),
                recalled=self._recalled,
                misses=self._misses,
                refused=dict(self._index.refused),
                dropped=self._writer.dropped + self._writer.failed + getattr(self._store, "dropped", 0),
                store_errors=self._index.store_errors + getattr(self._store, "file_errors", 0),
                embedder_errors=self._vectors.errors if self._vectors is not None else 0,
            )

    def _seconds(self, call: FailedCall) -> float:
        """
        Seconds since 1970 on the registry's clock.

        Ages must survive a restart, which monotonic seconds do not. But setting the system clock must not change ages.
        So the two clocks are compared once, and again after the machine was asleep.
        """
        wall = datetime.now(UTC).timestamp()
        if self._epoch is None or wall - (self._epoch + call.now) > _SLEPT_SECONDS:
            self._epoch = wall - call.now
        return self._epoch + call.now

    def __repr__(self) -> str:
        entries = self.stats().entries
        count = "answers" if entries is None else f"{entries} answer{'' if entries == 1 else 's'}"
        path = getattr(self._store, "path", type(self._store).__name__)
        place = "in memory" if isinstance(self._store, MemoryStore) else f"in {os.path.basename(path)}"
        space = self._space if self._space is not None else self._index.trigrams
        return f"<SimilarAnswers: {count} {place}, {space.id} from {space.threshold:g}>"


def _store(
    path: str | os.PathLike[str] | None,
    store: StoreProtocol | None,
    *,
    max_age: float,
    max_entries: int,
    max_bytes: int,
) -> StoreProtocol:
    if store is not None:
        if path is not None:
            raise ValueError("give path or store, not both")
        for name in ("put", "exact", "nearest", "forget", "close"):
            if not callable(getattr(store, name, None)):
                raise ValueError(f"store {type(store).__qualname__} needs a method {name}(); see StoreProtocol")
        return store
    if path is not None:
        from ._sqlite import SQLiteStore

        return SQLiteStore(path, max_entries=max_entries, max_bytes=max_bytes, max_age=max_age)
    return MemoryStore(max_entries=max_entries, max_bytes=max_bytes)


def _abandon(writer: Writer[Draft], store: StoreProtocol) -> None:
    """Close the writer and the store of a garbage-collected memory, without blocking the collecting thread."""
    with suppress(RuntimeError):  # no more threads can be started: pending answers are lost, as in a crash
        threading.Thread(target=writer.close, args=(2.0, store.close), daemon=True).start()


_open: weakref.WeakSet[SimilarAnswers] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Write waiting answers before the process ends, for at most two seconds."""
    deadline = time.monotonic() + 2.0
    for memory in list(_open):
        memory.close(max(0.0, deadline - time.monotonic()))
