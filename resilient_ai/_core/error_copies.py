"""Copies of exceptions: one for each of several callers, and one to keep that holds on to no frames."""

from __future__ import annotations

import copy
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

E = TypeVar("E", bound=BaseException)

_DEEPEST = 8  # links of a chain that are copied
_FRAMES_NAMED = 8


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


class Kept:
    """
    A failure to be named later, for as long as that takes, without what its frames hold: prompts, answers, clients.

    While anybody else has the failure, this gives the failure itself, untouched: whoever logs it wants its traceback.
    After that it gives a copy, and so are its causes, with a note of the lines it came through in place of the frames.
    Python's own exceptions cannot be referred to weakly. One of those is kept as it is.
    """

    __slots__ = ("_copy", "_failure")

    def __init__(self, failure: BaseException) -> None:
        self._copy = failure
        self._failure: Any = None
        try:
            self._failure = weakref.ref(failure)
        except TypeError:
            return
        self._copy = _without_frames(failure, _DEEPEST)

    def failure(self) -> BaseException:
        """The failure, or its copy."""
        itself: BaseException | None = self._failure() if self._failure is not None else None
        return self._copy if itself is None else itself


def _without_frames(error: E, deepest: int) -> E:
    twin: Any = own_copy(error)
    if isinstance(error, BaseExceptionGroup):
        attributes = {**twin.__dict__}  # which derive leaves behind; whoever adds a note adds it to a list
        if "__notes__" in attributes:
            attributes["__notes__"] = [*attributes["__notes__"]]
        twin = error.derive([_link(each, deepest) for each in error.exceptions] if deepest else error.exceptions)
        twin.__dict__.update(attributes)
    if twin is error or type(twin) is not type(error):
        return error
    twin.__traceback__ = None
    suppressed = error.__suppress_context__
    twin.__cause__ = _link(error.__cause__, deepest)
    twin.__context__ = None if suppressed else _link(error.__context__, deepest)
    twin.__suppress_context__ = suppressed
    for name, value in twin.__dict__.items():  # errors of ours have others in them
        if isinstance(value, BaseException):
            twin.__dict__[name] = _link(value, deepest)
        elif isinstance(value, dict) and any(isinstance(each, BaseException) for each in value.values()):
            twin.__dict__[name] = {key: _link(each, deepest) for key, each in value.items()}
    if error.__traceback__ is not None:
        twin.add_note("resilient_ai: kept without its frames; it came through\n" + _lines(error.__traceback__))
    return twin


def _link(value: Any, deepest: int) -> Any:
    if not isinstance(value, BaseException):
        return value
    return _without_frames(value, deepest - 1) if deepest else None


def _lines(traceback: TracebackType | None) -> str:
    """Where the frames were, outermost first, as Python shows it; without the code, which may hold a prompt."""
    found: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        found.append(f'  File "{code.co_filename}", line {traceback.tb_lineno}, in {code.co_name}')
        traceback = traceback.tb_next
    return "\n".join(found[-_FRAMES_NAMED:])
