"""Settings of plain functions: a blocking call cannot be stopped, so timeouts are for async functions only."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar


class Default(float):
    """Seconds that are a default, not given by the user."""

    __slots__ = ()


class Told(float):
    """Seconds that do not stop a plain function: the layers below are told of them, and do not wait beyond."""

    __slots__ = ()


class TimedConfig(Protocol):
    """
    Settings that include timeouts.

    Attributes:
        timeouts: Names of the timeouts.
        plain: Whether these are the settings of a plain function.
    """

    timeouts: ClassVar[tuple[str, ...]]

    @property
    def plain(self) -> bool: ...


C = TypeVar("C", bound=TimedConfig)


def for_plain_functions(config: C) -> C:
    """
    The same settings for a plain function: without timeouts that are defaults.

    Raises:
        ValueError: The user has given a timeout.
    """
    given = {name: getattr(config, name) for name in config.timeouts}
    for name, seconds in given.items():
        if seconds is not None and type(seconds) not in (Default, Told):
            raise ValueError(
                f"{name}={seconds!r} cannot stop a plain function; leave it out, and give the SDK a timeout:"
                " `timeout=time_left()` within a deadline()"
            )
    return replace(_untimed(config), **{name: seconds for name, seconds in given.items() if type(seconds) is Told})  # type: ignore[type-var]  # every config is a dataclass


def agreed(one: Any, other: Any) -> tuple[Any] | None:
    """The common settings of two layers of one state, in a tuple; None if they differ in more than missing timeouts."""
    if one == other:
        return (one,)
    if getattr(one, "plain", False) == getattr(other, "plain", False):
        return None
    timed, plain = (other, one) if one.plain else (one, other)
    return (timed,) if _untimed(timed) == _untimed(plain) else None


def difference(old: object, new: object) -> str:
    """The settings in which two layers of one state differ, for the error."""
    if is_dataclass(old) and type(old) is type(new):
        pairs = ((field.name, getattr(old, field.name), getattr(new, field.name)) for field in fields(old))
        return ", ".join(f"{name} {before!r} there, {after!r} here" for name, before, after in pairs if before != after)
    return f"{old!r} there, {new!r} here"


def _untimed(config: C) -> C:
    unset: dict[str, Any] = dict.fromkeys(config.timeouts)
    return replace(config, plain=True, **unset)  # type: ignore[type-var]  # every config is a dataclass
