"""Which errors, and results, a setting means: exception types, error types and predicates, in any mixture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from resilient_ai._core.errors import ErrorType
from resilient_ai._core.kinds import kind_of

if TYPE_CHECKING:
    from .verdict import Verdict

ErrorRule = type[Exception] | ErrorType | Callable[[BaseException], bool]
# `reject=`: returns the error type of a result that counts as a failure, or None for a good one.
Reject = Callable[[Any], ErrorType | None]


def error_rules(parameter: str, given: Any, base: type[BaseException] = Exception) -> tuple[Any, ...]:
    """
    The rules of a setting as a tuple.

    Args:
        parameter: Name of the setting, for the message.
        given: One rule or several.
        base: The class from which exception types must derive.

    Raises:
        ValueError: A rule is none of the three, or an exception type that does not derive from `base`.
    """
    if isinstance(given, ErrorType | type) or callable(given):
        given = (given,)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f"{parameter} takes exception types, ErrorTypes or predicates, got {given!r}")
    rules = tuple(given)
    for each in rules:
        if isinstance(each, type) and not issubclass(each, base):
            hint = "; cancellation and exits are nobody's failure" if issubclass(each, BaseException) else ""
            raise ValueError(
                f"{parameter} takes exception types, ErrorTypes or predicates, got the class {each.__name__}{hint}"
            )
        if not isinstance(each, ErrorType) and not callable(each):
            raise ValueError(f"{parameter} takes exception types, ErrorTypes or predicates, got {each!r}")
    return rules


def rejection(reject: Reject, result: Any, owner: str) -> ErrorType | None:
    """
    The error type that `reject` returns for a result; None for a good one.

    Args:
        reject: The setting.
        result: The result of the call.
        owner: Name of the owner of the setting, for the message.

    Raises:
        TypeError: `reject` returned neither an ErrorType nor None.
    """
    error_type = reject(result)
    if error_type is None or isinstance(error_type, ErrorType):
        return error_type
    kind = kind_of(error_type)  # not the value: it may be the answer
    raise TypeError(f"reject of {owner!r} must return an ErrorType or None, got {kind}")


def matches(rules: tuple[ErrorRule, ...], error: BaseException, verdict: Verdict) -> bool:
    """Whether any rule matches this error."""
    return any(means(rule, error, verdict) for rule in rules)


def means(rule: ErrorRule | type[BaseException], error: BaseException, verdict: Verdict) -> bool:
    """Whether this rule matches the error."""
    if isinstance(rule, ErrorType):
        return rule is verdict.error_type
    return isinstance(error, rule) if isinstance(rule, type) else bool(rule(error))
