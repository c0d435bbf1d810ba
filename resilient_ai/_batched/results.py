"""What a batch function returns, one result per item or an error, and how one error goes to many callers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resilient_ai._core.error_copies import own_copy
from resilient_ai._core.errors import BatchResultError
from resilient_ai._core.kinds import kind_of


class Failure:
    """
    The outcome of an item that has no result: an exception for its caller.

    Args:
        error: The exception.
        shared: Whether several callers get it. Then each raises a copy.
    """

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
        BatchResultError: There are more or fewer results than items, or it is no sequence. Arrays will do.
    """
    if type(results) is not list:
        listed = not isinstance(results, str | bytes | bytearray | Mapping) and hasattr(results, "__getitem__")
        if not listed or not hasattr(results, "__len__"):
            raise BatchResultError(f"{function} must return a list with one result per item, got {kind_of(results)}")
    if len(results) != items:
        raise BatchResultError(f"{function} returned {len(results)} results for {items} items; it must return one each")
    return results  # type: ignore[no-any-return]


def outcome(result: Any, function: str, *, shared: bool) -> Any:
    """The outcome of an item: its entry in the list, or a `Failure` if that is an exception."""
    if not isinstance(result, BaseException):
        return result
    if not isinstance(result, Exception):
        # gather(return_exceptions=True) returns cancellations too. Raised here, one would look like the caller's own.
        wrong = BatchResultError(f"{function} returned {kind_of(result)} in place of a result")
        wrong.__cause__ = result
        result = wrong
    return Failure(result, shared=shared)
