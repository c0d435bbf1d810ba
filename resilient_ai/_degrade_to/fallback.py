"""One rung of a fallback chain, in any of its forms, and its answer."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilient_ai._core.kinds import kind_of
from resilient_ai._core.scrub import scrub

from .contract import FailedCall, Recalled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_ATOMS = (str, bytes, int, float, complex, bool, type(None))


class Rung:
    """
    One rung, in any of its forms.

    Args:
        given: A value, a function of the call, or an object with `recall`.
        number: Its position in the chain, from 1.

    Raises:
        ValueError: It cannot answer: a class, an awaitable, or a function that does not take the failed call.
    """

    __slots__ = ("check_site", "given", "judges_answers", "kind", "label", "name", "recall", "remember")

    def __init__(self, given: Any, number: int) -> None:
        if inspect.isclass(given):
            hint = f"{given.__name__}(...)" if hasattr(given, "recall") else "a function of the call"
            raise ValueError(f"rung {number} is the class {given.__qualname__}; give {hint}")
        if inspect.isawaitable(given):
            raise ValueError(f"rung {number} is a coroutine, which answers once; give the async function itself")
        self.given = given
        self.recall: Callable[[FailedCall], Any] | None
        self.remember: Callable[[FailedCall, Any], Any] | None = None
        self.check_site: Callable[[FailedCall], Any] | None = None
        self.judges_answers = bool(getattr(given, "judges_answers", False))
        self.label: str | None
        if callable(getattr(given, "recall", None)):
            self.kind, self.recall, self.label = "memory", given.recall, getattr(given, "label", "CACHED")
            self.remember = _method_of(given, "remember")
            self.check_site = _method_of(given, "check_site")
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

    def streams_for(self, *, plain: bool) -> bool:
        """Whether it can answer only with a stream, for a plain function or an async one."""
        return inspect.isgeneratorfunction(self.recall) if plain else self.streams

    @property
    def is_async(self) -> bool:
        """Whether it is an async function, which needs an event loop."""
        return inspect.iscoroutinefunction(self.recall) or self.streams

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rung):
            return NotImplemented
        if self.given is other.given:
            return True
        try:
            return type(self.given) is type(other.given) and bool(self.given == other.given)
        except Exception:  # noqa: BLE001 - `==` of an array has no truth value; the two count as different
            return False

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self.kind == "value":
            return scrub(repr(self.given)) if isinstance(self.given, _ATOMS) else f"<{kind_of(self.given)}>"
        code = getattr(self.given, "__code__", None)
        return f"<lambda in line {code.co_firstlineno}>" if code and code.co_name == "<lambda>" else self.name


def _method_of(given: Any, name: str) -> Callable[..., Any] | None:
    method = getattr(given, name, None)
    return method if callable(method) else None


def _takes_a_call(recall: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(recall)
    except (TypeError, ValueError):  # a function written in C without a signature: assume that it does
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
    function = getattr(given, "func", given)  # the function of a partial
    name = str(getattr(function, "__name__", type(given).__name__))
    return f"rung {number}" if name.startswith("<") else name


def rungs_of(given: tuple[Any, ...]) -> tuple[Rung, ...]:
    """
    The rungs of a fallback chain, with unique names.

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
    """
    The answer of a rung.

    Attributes:
        rung: The rung.
        recalled: The answer with its origin; for a stream, its first item.
        rest: The items of a stream after the first; None: the answer is one value.
        shared: Whether several callers get it.
        given: The answer that the caller gets, marked; for a stream, its first item.
    """

    rung: Rung
    recalled: Recalled
    rest: AsyncIterator[Any] | None = None
    shared: bool = False
    given: Any = None

    @property
    def own_value(self) -> Any:
        """The answer for one caller: a copy if the rung or another caller keeps the object."""
        value = self.recalled.answer
        made_for_this_call = self.rest is not None or (self.rung.kind == "function" and not self.shared)
        return value if made_for_this_call else _own_copy(value)

    async def close(self) -> None:
        """Close the stream, if it is one."""
        close = getattr(self.rest, "aclose", None)
        if close is not None:
            await close()


def in_full(answer: Any, rung: Rung) -> Recalled:
    """The answer of a rung, with its source filled in."""
    if not isinstance(answer, Recalled):
        return Recalled(answer, rung.name)
    return answer if answer.source is not None else Recalled(answer.answer, rung.name, answer.similarity, answer.age)


def _own_copy(value: Any) -> Any:
    """A copy; the value itself if it cannot be copied."""
    if type(value) in _ATOMS:
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - whatever a __deepcopy__ of the user's raises
        return value
