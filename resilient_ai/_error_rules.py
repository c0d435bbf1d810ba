"""Which errors a setting means: exception types, error types and predicates, in any mixture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ._errors import ErrorType

if TYPE_CHECKING:
    from ._classify import Verdict

ErrorRule = type[Exception] | ErrorType | Callable[[BaseException], bool]


def error_rules(parameter: str, given: ErrorRule | Iterable[ErrorRule]) -> tuple[ErrorRule, ...]:
    """
    The rules as a tuple.

    Raises:
        ValueError: One of them is none of the three, or an exception type that is not an `Exception`.
    """
    if isinstance(given, ErrorType | type) or callable(given):
        given = (given,)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f"{parameter} takes exception types, ErrorTypes or predicates, got {given!r}")
    rules = tuple(given)
    for each in rules:
        if isinstance(each, type) and not issubclass(each, Exception):
            hint = "; cancellation and exits are nobody's failure" if issubclass(each, BaseException) else ""
            raise ValueError(
                f"{parameter} takes exception types, ErrorTypes or predicates, got the class {each.__name__}{hint}"
            )
        if not isinstance(each, ErrorType) and not callable(each):
            raise ValueError(f"{parameter} takes exception types, ErrorTypes or predicates, got {each!r}")
    return rules


def matches(rules: tuple[ErrorRule, ...], error: BaseException, verdict: Verdict) -> bool:
    """Whether any rule means this error."""
    return any(
        each is verdict.error_type
        if isinstance(each, ErrorType)
        else isinstance(error, each)
        if isinstance(each, type)
        else each(error)
        for each in rules
    )
