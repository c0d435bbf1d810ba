"""What a batch function gives back: one result per item, or an error; and one error for many callers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ._errors import BatchResultError

E = TypeVar("E", bound=BaseException)


class Failure:
    """In place of a result: what the caller gets raised. Callers that share it raise copies."""

    __slots__ = ("error", "shared")

    def __init__(self, error: BaseException, *, shared: bool) -> None:
        self.error = error
        self.shared = shared

    def for_one_caller(self) -> BaseException:
        return own_copy(self.error) if self.shared else self.error


def checked_results(results: Any, items: int, function: str) -> Sequence[Any]:
    """
    The results as a sequence with one entry per item.

    Raises:
        BatchResultError: There are more or fewer of them, or it is no list. Arrays and other sequences will do.
    """
    if type(results) is not list:
        listed = not isinstance(results, str | bytes | bytearray | Mapping) and hasattr(results, "__getitem__")
        if not listed or not hasattr(results, "__len__"):
            raise BatchResultError(
                f"{function} must return a list with one result per item, got a {type(results).__name__}"
            )
    if len(results) != items:
        raise BatchResultError(f"{function} returned {len(results)} results for {items} items; it must return one each")
    return results  # type: ignore[no-any-return]


def dealt(result: Any, function: str, *, shared: bool) -> Any:
    """A result as its caller gets it: exceptions as failures."""
    if not isinstance(result, BaseException):
        return result
    if not isinstance(result, Exception):
        # gather(return_exceptions=True) gives back cancellations; raised, one would look like the caller's own.
        wrong = BatchResultError(f"{function} returned a {type(result).__name__} in place of a result")
        wrong.__cause__ = result
        result = wrong
    return Failure(result, shared=shared)


def own_copy(error: E) -> E:
    """
    An exception of the same type, message, cause and traceback; the same one if it cannot be copied.

    One object raised in many tasks would collect the frames and notes of all of them.
    """
    # SDK errors refuse copy.copy, because their __init__ asks for more than their args; OSError refuses __new__.
    for make in (_made_anew, copy.copy):
        try:
            twin = make(error)
            if (
                type(twin) is not type(error)
                or twin is error
                or twin.args != error.args
                or str(twin) != str(error)
                or twin.__dict__.keys() != error.__dict__.keys()
            ):
                continue
        except Exception:  # noqa: BLE001, S112 - an exception that cannot be copied this way
            continue
        if (notes := error.__dict__.get("__notes__")) is not None:
            twin.__dict__["__notes__"] = list(notes)
        twin.__cause__ = error.__cause__
        twin.__context__ = error.__context__
        twin.__suppress_context__ = error.__suppress_context__
        return twin.with_traceback(error.__traceback__)
    return error


def _made_anew(error: E) -> E:
    twin = type(error).__new__(type(error), *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin
