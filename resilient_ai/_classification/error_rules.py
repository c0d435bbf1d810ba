"""Which errors a setting means: exception types, error types and predicates, in any mixture; and which results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from resilient_ai._core.errors import ErrorType

if TYPE_CHECKING:
    from .verdict import Verdict

ErrorRule = type[Exception] | ErrorType | Callable[[BaseException], bool]
# What `reject=` makes of a result: the type of failure that it is, or None for a good one.
Reject = Callable[[Any], ErrorType | None]


def error_rules(parameter: str, given: Any, base: type[BaseException] = Exception) -> tuple[Any, ...]:
    """
    The rules as a tuple.

    Args:
        parameter: Its name, for the message.
        given: One rule or several.
        base: What exception types must derive from.

    Raises:
        ValueError: One of them is none of the three, or an exception type that is not a `base`.
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
    What `reject` makes of a result.

    Args:
        reject: The setting.
        result: What was returned.
        owner: Whose setting it is, for the message.

    Raises:
        TypeError: It returned neither an ErrorType nor None.
    """
    error_type = reject(result)
    if error_type is None or isinstance(error_type, ErrorType):
        return error_type
    kind = type(error_type).__qualname__  # not the value: it may be the answer
    raise TypeError(f"reject of {owner!r} must return an ErrorType or None, got a {kind}")


def matches(rules: tuple[ErrorRule, ...], error: BaseException, verdict: Verdict) -> bool:
    """Whether any rule means this error."""
    return any(means(rule, error, verdict) for rule in rules)


def means(rule: ErrorRule | type[BaseException], error: BaseException, verdict: Verdict) -> bool:
    """Whether this rule does."""
    if isinstance(rule, ErrorType):
        return rule is verdict.error_type
    return isinstance(error, rule) if isinstance(rule, type) else bool(rule(error))
