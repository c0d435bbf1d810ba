"""Asking the rungs of a fallback in order: each within its time, few at once, equal calls together."""

from __future__ import annotations

import contextvars
import copy
import inspect
import weakref
from collections.abc import AsyncIterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
from anyio.lowlevel import RunVar

from resilient_ai._core.errors import CallTimeoutError
from resilient_ai._core.frozen import UnkeyableError
from resilient_ai._core.watch import OWN_VARIABLES

from .call_key import call_key
from .contract import NO_ANSWER, FailedCall, Recalled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable

    from resilient_ai._core.clock import Clock

_ATOMS = (str, bytes, int, float, complex, bool, type(None))


def own_copy(value: Any) -> Any:
    """The value for one caller alone; what cannot be copied is shared."""
    if type(value) in _ATOMS:
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - whatever a __deepcopy__ of the user's raises
        return value


class Rung:
    """
    One rung, whatever it was given as.

    Args:
        given: A value, a function of the call, or an object with `recall`.
        number: Its place, from 1.

    Raises:
        ValueError: A class, an awaitable, or a function that does not take the failed call: none can answer.
    """

    __slots__ = ("given", "kind", "label", "name", "recall", "remember")

    def __init__(self, given: Any, number: int) -> None:
        if inspect.isclass(given):
            hint = f"{given.__name__}(...)" if hasattr(given, "recall") else "a function of the call"
            raise ValueError(f"rung {number} is the class {given.__qualname__}; give {hint}")
        if inspect.isawaitable(given):
            raise ValueError(f"rung {number} is a coroutine, which answers once; give the async function itself")
        self.given = given
        self.recall: Callable[[FailedCall], Any] | None
        self.remember: Callable[[FailedCall, Any], Any] | None = None
        self.label: str | None
        if callable(getattr(given, "recall", None)):
            self.kind, self.recall, self.label = "memory", given.recall, getattr(given, "label", "CACHED")
            remember = getattr(given, "remember", None)
            self.remember = remember if callable(remember) else None
        elif callable(given):
            self.kind, self.recall, self.label = "function", given, getattr(given, "label", "RULE-BASED")
        else:  # a value, which always answers
            self.kind, self.recall, self.label = "value", None, None
        self.name = _name_of(given, number) if self.recall is not None else "static"
        if self.recall is not None and not _takes_a_call(self.recall):
            raise ValueError(f"rung {number}, {self!r}, is called with the failed call; let it take one argument")

    @property
    def streams(self) -> bool:
        """Whether it can answer only with a stream."""
        return inspect.isasyncgenfunction(self.recall)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rung):
            return NotImplemented
        if self.given is other.given:
            return True
        try:
            return type(self.given) is type(other.given) and bool(self.given == other.given)
        except Exception:  # noqa: BLE001 - an array has no truth; then they differ
            return False

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self.kind == "value":
            return repr(self.given) if isinstance(self.given, _ATOMS) else f"<a {type(self.given).__name__}>"
        code = getattr(self.given, "__code__", None)
        return f"<lambda in line {code.co_firstlineno}>" if code and code.co_name == "<lambda>" else self.name


def _takes_a_call(recall: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(recall)
    except (TypeError, ValueError):  # nobody knows, as of some written in C
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True


def _name_of(given: Any, number: int) -> str:
    own = getattr(given, "name", None)
    if isinstance(own, str) and own:
        return own
    function = getattr(given, "func", given)  # of a partial
    name = str(getattr(function, "__name__", type(given).__name__))
    return f"rung {number}" if name.startswith("<") else name


def rungs_of(given: tuple[Any, ...]) -> tuple[Rung, ...]:
    """
    The rungs of a ladder, with names that differ.

    Raises:
        ValueError: There is none, or one can never be asked.
    """
    if not given:
        raise ValueError("degrade_to needs a rung: a value, a function of the failed call, or an object with recall()")
    rungs = tuple(Rung(each, number) for number, each in enumerate(given, 1))
    for number, rung in enumerate(rungs[:-1], 1):
        if rung.kind == "value":
            raise ValueError(f"rung {number} is a value and always answers, so that rung {number + 1} is never asked")
    for number, rung in enumerate(rungs, 1):
        if any(rung.name == each.name for each in rungs[: number - 1]):
            rung.name = f"{rung.name} ({number})"
    return rungs


@dataclass(slots=True)
class Answer:
    """What a rung said, in full."""

    rung: Rung
    recalled: Recalled
    shared: bool = False  # with the callers of equal calls

    @property
    def value(self) -> Any:
        """The answer, as this caller's own."""
        answer = self.recalled.answer
        # A function makes its answer for this call; the others may give the one they keep.
        return answer if self.rung.kind == "function" and not self.shared else own_copy(answer)


@dataclass(slots=True, eq=False)
class _Flight:
    """One computation that equal calls wait for together."""

    # Holds what the key's ids belong to, so that no other object gets them meanwhile.
    context: contextvars.Context
    landed: anyio.Event = field(default_factory=anyio.Event)
    answer: Answer | None = None
    lost: bool = True  # until there is an outcome; a leader that is cancelled leaves none
    shared: bool = False


class _Desk:
    """What one ladder has under way in one event loop."""

    __slots__ = ("__weakref__", "flights", "slots")

    def __init__(self, most: int) -> None:
        self.slots = anyio.Semaphore(most, fast_acquire=True)
        self.flights: dict[Hashable, _Flight] = {}


_desks: RunVar[weakref.WeakKeyDictionary[Ladder, _Desk]] = RunVar("resilient_ai.ladders")


class Ladder:
    """
    The rungs of one policy, and how they are asked.

    Args:
        rungs: In the order in which they are asked.
        clock: Time limits end on it.
        timeout: Seconds that one rung has to answer one call, waiting for its turn included; None: no bound.
        most: Async rungs at work at a time, per event loop.
        failed: Told of a rung that raised, with the call.
    """

    def __init__(
        self,
        rungs: tuple[Rung, ...],
        clock: Clock,
        *,
        timeout: float | None,
        most: int,
        failed: Callable[[Rung, FailedCall, Exception], None],
    ) -> None:
        self.rungs = rungs
        self._clock = clock
        self._timeout = timeout
        self._most = most
        self._failed = failed

    async def climb(self, call: FailedCall) -> Answer | None:
        """
        The first answer, or None when every rung passes.

        Calls that a rung cannot tell apart are answered by one computation: same function, instance, arguments, kind
        of error and context variables, because a rung may read who is asking from one of those.
        """
        if self.rungs[0].recall is None:
            return await self._climb(call)  # a value: nothing is computed
        context = contextvars.copy_context()
        try:
            kind = type(call.error), call.verdict and call.verdict.error_type
            key = call_key(call), kind, _context_key(context)
        except UnkeyableError:
            return await self._climb(call)
        flights = self._desk().flights
        while (flight := flights.get(key)) is not None:
            flight.shared = True
            await flight.landed.wait()
            if not flight.lost:
                return flight.answer
        flight = flights[key] = _Flight(context)
        try:
            # In an outage equal calls fail in the same turn of the loop; they get on board before the work begins.
            await anyio.lowlevel.checkpoint()
            flight.answer = await self._climb(call)
            flight.lost = False
            if flight.answer is not None:
                flight.answer.shared = flight.shared
            return flight.answer
        finally:
            del flights[key]
            flight.landed.set()

    async def _climb(self, call: FailedCall) -> Answer | None:
        for rung in self.rungs:
            try:
                answer = await self._ask(rung, call)
            except Exception as error:  # noqa: BLE001 - a broken fallback must not break the others
                self._failed(rung, call, error)
                continue
            recalled = _in_full(answer, rung)
            if recalled.answer is not NO_ANSWER:
                return Answer(rung, recalled)
        return None

    async def climb_stream(self, call: FailedCall) -> tuple[Answer, AsyncGenerator[Any, None]] | None:
        """The first rung that has an item to give, and all its items."""
        for rung in self.rungs:
            try:
                recalled = _in_full(await self._ask(rung, call), rung)
                if recalled.answer is NO_ANSWER:
                    continue
                if not isinstance(recalled.answer, AsyncIterable):
                    found = Answer(rung, recalled)
                    return found, _one(found.value)
                items = aiter(recalled.answer)
                try:
                    first = await self.limited(anext(items), rung)
                except StopAsyncIteration:
                    continue
                except BaseException:
                    await _close(items)
                    raise
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(rung, call, error)
                continue
            return Answer(rung, recalled), self._items(rung, first, items)
        return None

    async def _items(self, rung: Rung, item: Any, items: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        try:
            while True:
                yield item
                try:
                    item = await self.limited(anext(items), rung)
                except StopAsyncIteration:
                    return
        finally:
            await _close(items)

    async def _ask(self, rung: Rung, call: FailedCall) -> Any:
        if rung.recall is None:
            return rung.given
        answer = rung.recall(call)
        return await self.limited(answer, rung) if inspect.isawaitable(answer) else answer

    async def limited(self, answer: Awaitable[Any], rung: Rung) -> Any:
        """Await within the rung's time; waiting for a turn counts, so that nobody waits longer than that."""
        began = False
        try:
            with self._clock.move_on_after(self._timeout) if self._timeout is not None else nullcontext():
                async with self._desk().slots:
                    began = True
                    return await answer
            raise CallTimeoutError(rung.name, timeout_seconds=self._timeout or 0.0)
        finally:
            if not began and (close := getattr(answer, "close", None)) is not None:
                close()  # a coroutine whose turn never came would complain that nobody awaited it

    def _desk(self) -> _Desk:
        desks = _desks.get(None)
        if desks is None:
            desks = weakref.WeakKeyDictionary()
            _desks.set(desks)
        desk = desks.get(self)
        if desk is None:
            desk = desks[self] = _Desk(self._most)
        return desk


def _in_full(answer: Any, rung: Rung) -> Recalled:
    if not isinstance(answer, Recalled):
        return Recalled(answer, rung.name)
    return answer if answer.source is not None else Recalled(answer.answer, rung.name, answer.similarity, answer.age)


def _context_key(context: contextvars.Context) -> Hashable:
    return frozenset((id(variable), id(value)) for variable, value in context.items() if variable not in OWN_VARIABLES)


async def _one(item: Any) -> AsyncGenerator[Any, None]:
    yield item


async def _close(items: Any) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()
