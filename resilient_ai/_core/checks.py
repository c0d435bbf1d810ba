"""Checks of settings: each raises a ValueError that names the parameter, the rule and the value."""

from __future__ import annotations

import inspect
import math
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


_each_alone = ContextVar("each_alone", default=False)


@contextmanager
def each_alone() -> Iterator[None]:
    """Check each setting by itself, but not whether it fits the others, which are not known yet."""
    token = _each_alone.set(True)
    try:
        yield
    finally:
        _each_alone.reset(token)


def together() -> bool:
    """Whether to check if settings fit each other."""
    return not _each_alone.get()


def check_number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    whole: bool = False,
    optional: bool = False,
    relative: bool = False,
) -> None:
    """
    Refuse a value that is not a finite number within bounds.

    Args:
        name: The parameter.
        value: The value that was given.
        least: Smallest legal value.
        above: Lower bound that is not legal itself.
        most: Largest legal value.
        whole: Whether only integers are legal. Default False.
        optional: Whether None is legal too. Default False.
        relative: Whether a bound is the value of another setting. Default False.
    """
    if value is None and optional:
        return
    if relative and not together():
        least = above = most = None
    kind = "an integer" if whole else "a number"
    rules = [
        f"of at least {least:g}" if least is not None else "",
        f"above {above:g}" if above is not None else "",
        f"up to {most:g}" if most is not None else "",
    ]
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if (
        not fits
        or not _is_finite(value)
        or (least is not None and value < least)  # type: ignore[operator]
        or (above is not None and value <= above)  # type: ignore[operator]
        or (most is not None and value > most)  # type: ignore[operator]
    ):
        rule = " ".join([kind, *filter(None, rules)])
        raise ValueError(f"{name} must be {rule}{' or None' if optional else ''}, got {value!r}")


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer larger than any float
        return False


def check_listener(listener: object) -> None:
    """Refuse what events cannot be told to: it is called where they happen, and nobody awaits it."""
    if not callable(listener) or inspect.iscoroutinefunction(listener):
        raise ValueError(f"a listener must be a plain function of the event, got {listener!r}")


def check_callable(name: str, value: object) -> None:
    """Refuse a value that is neither None nor callable, or is an async function, which would not be awaited."""
    if value is not None and (not callable(value) or inspect.iscoroutinefunction(value)):
        raise ValueError(f"{name} must be a plain callable or None, got {value!r}")
