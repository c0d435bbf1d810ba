"""`run_all`: an async iterator over the outcomes of a job, in the order in which the items end."""

from __future__ import annotations

import contextvars
import dataclasses
import hashlib
import importlib
import json
import math
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sized
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from resilient_ai._classification.classify import classify
from resilient_ai._core.call_facts import watch
from resilient_ai._core.kinds import kind_of
from resilient_ai._core.public import public
from resilient_ai._core.state_store import default_registry
from resilient_ai._core.tasks import current_loop, spawn
from resilient_ai._core.wrapper import wrapper_of
from resilient_ai._degrade_to.config import UNAVAILABLE
from resilient_ai.similar._answer_types import buildable, return_annotation

from ._journal import Journal
from ._outage import Outage, backoff
from ._outcome import Outcome

if TYPE_CHECKING:
    import os

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from resilient_ai._core.call_facts import Seen
    from resilient_ai._core.state_store import StateStore

T = TypeVar("T")
A = TypeVar("A")
_END: Any = object()


@public("jobs")
def run_all(
    ask: Callable[[T], Awaitable[A]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    concurrency: int = 50,
    journal: str | os.PathLike[str] | None = None,
    progress: bool = False,
    patience: float | None = None,
    id: Callable[[T], str] | None = None,  # noqa: A002 - the word that users have for it
    types: Iterable[type] = (),
) -> AsyncIterator[Outcome[T, A]]:
    """
    Call a decorated function for every item, and wait for the end of outages.

    Args:
        ask: Called with one item. Errors that `degrade_to` would answer are waited out; a degraded answer does not
            count as an answer.
        items: Any iterable or async iterable; read while the job runs, so it may be endless.
        concurrency: Most items in flight at a time, and most outcomes that wait for the consumer. Default 50.
        journal: Path of an SQLite file with every answer so far, in clear text, readable by its owner only (mode
            0600). For an item in it the function is not called again. Default None: no journal.
        progress: Whether to show a progress bar, if tqdm is installed. Default False.
        patience: Most seconds for one item, including waits; after that its outcome is an error. Default None: no
            bound.
        id: A function that identifies an item in the journal. Default: a digest of its value.
        types: Dataclasses and pydantic models that the journal may build, besides those in the return annotation of
            `ask`. Not needed for plain data and `Reply`. Default: none.

    Returns:
        An async iterator of one `Outcome` for each item, in the order in which they end. Leaving it early cancels the
        calls in flight; `contextlib.aclosing` does so at once.

    Raises:
        ValueError: A bad setting, or the journal's path is another kind of file.
        TypeError: `items` is not iterable, or `ask` is a plain function. While it runs: an item whose value cannot be
            digested, or an answer that the journal cannot keep.
        Exception: While it runs: a bug of the program, as raised by `ask`, or an error of `items`. It ends the job.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, got {concurrency!r}")
    if patience is not None and not (patience > 0 and math.isfinite(patience)):
        raise ValueError(f"patience must be seconds above 0, or None for ever, got {patience!r}")
    if not isinstance(items, Iterable | AsyncIterable):
        raise TypeError(f"items must be an iterable or async iterable, got {kind_of(items)}")
    name = str(getattr(ask, "__qualname__", type(ask).__qualname__))
    if (wrapper := wrapper_of(ask)) is not None and wrapper._self_home.plain:
        raise TypeError(
            f"run_all awaits each answer, and {name} is a plain function; make it `async def`, and call blocking code"
            " with `await anyio.to_thread.run_sync(...)`"
        )
    known = buildable(return_annotation(ask)) | {key: kind for each in types for key, kind in buildable(each).items()}
    if journal is not None:
        # Opened to report errors at once, and closed, because a job that is never started must hold no file.
        Journal(journal, name, known).close()

    def make() -> _Job[T, A]:
        book = Journal(journal, name, known) if journal is not None else None
        return _Job(ask, items, concurrency, book, patience, key_of)

    key_of = id if id is not None else digest_of
    return _outcomes(make, _Bar(name, items) if progress else None)


async def _outcomes(make: Callable[[], _Job[T, A]], bar: _Bar | None) -> AsyncIterator[Outcome[T, A]]:
    job = make()  # made here, because it needs the running loop
    try:
        async for outcome in job.start():
            yield outcome
            if bar is not None:
                bar.step()
        job.raise_problem()
    finally:
        await job.stop()
        if bar is not None:
            bar.close()


class _Job(Generic[T, A]):
    """The tasks of one job. They are in no scope of the consumer, because no scope may be held across a yield."""

    def __init__(
        self,
        ask: Callable[[T], Awaitable[A]],
        items: Iterable[T] | AsyncIterable[T],
        concurrency: int,
        journal: Journal | None,
        patience: float | None,
        key_of: Callable[[T], str],
    ) -> None:
        self._source, self._ask, self._concurrency = _Source(items), ask, concurrency
        self._journal, self._patience, self._key_of = journal, patience, key_of
        registry = _registry_of(ask)
        self._now, self._sleep, self._rng = registry.clock.now, registry.clock.sleep, registry.rng
        self._outage = Outage()
        self._problem: BaseException | None = None
        self._scope, self._ended = anyio.CancelScope(), anyio.Event()
        self._task: object = None

    def start(self) -> MemoryObjectReceiveStream[Outcome[T, A]]:
        send, self._received = anyio.create_memory_object_stream[Outcome[T, A]](self._concurrency)
        run = _Run(self._run, send)
        self._task = spawn(current_loop(), run, contextvars.copy_context(), self._ended.set)
        return self._received

    def raise_problem(self) -> None:
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    async def stop(self) -> None:
        """Cancel the tasks and wait for them to end."""
        if self._task is not None:
            self._scope.cancel()
            with anyio.CancelScope(shield=True):
                await self._ended.wait()
            self._received.close()
        if self._journal is not None:
            self._journal.close()

    async def _run(self, send: MemoryObjectSendStream[Outcome[T, A]]) -> None:
        try:
            with self._scope:
                async with anyio.create_task_group() as workers:
                    for _ in range(self._concurrency):
                        workers.start_soon(self._work, send)
        except BaseExceptionGroup as group:
            self._problem = _first_of(group)
        finally:
            send.close()
            await self._source.close()

    async def _work(self, send: MemoryObjectSendStream[Outcome[T, A]]) -> None:
        while (item := await self._source.next()) is not _END:
            await send.send(await self._outcome(item))

    async def _outcome(self, item: T) -> Outcome[T, A]:
        key = self._key_of(item) if self._journal is not None else ""
        if self._journal is not None and (known := self._journal.answer(key)) is not None:
            return Outcome(item, known[0])
        started, attempts, refusals = self._now(), 0, 0
        while True:
            await self._turn(started)
            answer, error, seen = await self._asked(item)
            attempts += max(seen.attempts, 1)
            if error is None:
                self._outage.answered()
                if self._journal is not None:
                    await self._journal.keep(key, answer)
                return Outcome(item, answer, None, self._now() - started, attempts)
            verdict = classify(error)
            if verdict.error_type not in UNAVAILABLE:
                self._outage.left()
                return Outcome(item, None, error, self._now() - started, attempts)
            refusals += 1
            self._outage.refused(self._now(), verdict.retry_after)
            wait = backoff(refusals, verdict.retry_after) * (1.0 + 0.1 * self._rng.random())
            if self._patience is not None and self._now() + wait > started + self._patience:
                return Outcome(item, None, error, self._now() - started, attempts)
            await self._sleep(wait)

    async def _turn(self, started: float) -> None:
        """Wait until the call for an item may be made; if its patience is over, a last call is made."""
        while (wait := self._outage.wait(self._now())) > 0:
            left = math.inf if self._patience is None else started + self._patience - self._now()
            if left <= 0:
                return
            await self._sleep(min(wait, left))

    async def _asked(self, item: T) -> tuple[Any, Exception | None, Seen]:
        with watch() as seen:
            try:
                answer = await self._ask(item)
            except Exception as error:
                if classify(error).blame == "program":
                    raise
                return None, error, seen
            except BaseException:
                self._outage.left()
                raise
        if seen.degraded:
            why = seen.error if isinstance(seen.error, Exception) else RuntimeError("the answer was a fallback's")
            return None, why, seen
        return answer, None, seen


class _Run:
    """The function of the detached task, with a name."""

    def __init__(self, run: Callable[..., Any], send: Any) -> None:
        self._run, self._send = run, send
        self.__qualname__ = self.__name__ = "run_all"

    def __call__(self) -> Any:
        return self._run(self._send)


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error of the worker that failed; the others were cancelled because of it."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


class _Source(Generic[T]):
    """Gives the items of any kind of iterable, one at a time, to concurrent workers."""

    def __init__(self, items: Iterable[T] | AsyncIterable[T]) -> None:
        self._lock = anyio.Lock()
        self._later = aiter(items) if isinstance(items, AsyncIterable) else None
        self._now = iter(items) if isinstance(items, Iterable) else iter(())

    async def next(self) -> T:
        """The next item, or `_END`."""
        if self._later is None:
            return next(self._now, _END)
        async with self._lock:
            return await anext(self._later, _END)

    async def close(self) -> None:
        """Close the iterable, so that a generator of the user runs its `finally`."""
        close = getattr(self._later, "aclose", None) or getattr(self._now, "close", None)
        closing = close() if close is not None else None
        if closing is not None:
            with anyio.CancelScope(shield=True):
                await closing


def digest_of(item: Any) -> str:
    """
    A digest of an item's value, equal in every process.

    Raises:
        TypeError: The item is not plain data.
    """
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        item = [type(item).__qualname__, dataclasses.asdict(item)]
    elif callable(dump := getattr(item, "model_dump", None)):
        item = [type(item).__qualname__, dump(mode="json")]
    try:
        written = json.dumps(item, sort_keys=True, ensure_ascii=True)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the journal knows an item by a digest of its value, and {kind_of(item)} has none ({error});"
            " pass id=, a function that names an item"
        ) from None
    return hashlib.sha256(written.encode()).hexdigest()


def _registry_of(ask: Any) -> StateStore:
    wrapper = wrapper_of(ask)
    return wrapper._self_stack.policies[0].registry if wrapper is not None else default_registry()


class _Bar:
    """A tqdm bar, or nothing if tqdm is not installed."""

    def __init__(self, name: str, items: object) -> None:
        try:
            tqdm: Any = importlib.import_module("tqdm").tqdm
        except ImportError:
            self._bar: Any = None
        else:
            self._bar = tqdm(total=len(items) if isinstance(items, Sized) else None, desc=name, unit="item")

    def step(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
