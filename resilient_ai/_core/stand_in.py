"""A stand-in for an error that must not be kept itself: without request, response and frames."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from .public import public
from .scrub import scrub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

_DEEPEST = 8  # most links of a chain that are kept
_MOST_MEMBERS = 20  # most members of a group that are kept
_MOST_IN_ALL = 50  # most errors in all: a group whose members refer back to it would double at every link
_FRAMES_NAMED = 8
_MOST_NOTES = 8


class Facts(NamedTuple):
    """What the classification reads from an error."""

    status: int | None = None
    code: str | None = None
    verdict: Any = None
    text: str | None = None  # None: the error's own text


# Set by the classification, which the core must not import.
_facts_of: Callable[[BaseException], Facts] = lambda _error: Facts()  # noqa: E731


def read_facts_with(read: Callable[[BaseException], Facts]) -> None:
    """Let `read` determine the status, code and verdict of an error."""
    global _facts_of
    _facts_of = read


@public("types")
class StandIn(Exception):  # noqa: N818 - it is no error of ours, and says so
    """
    Stands for an error of a provider's SDK or of the network that would keep a caller's request alive.

    An open circuit has one as its cause, and a pickled error as its original error. `classify` returns its verdict.

    It has the notes of the error, scrubbed like its text, and a note with the lines that the error passed through.

    Attributes:
        class_name: The name of the error's class.
        text: Its message in one line of at most 200 characters, without keys and without text of the request.
        status: The HTTP status, or None.
        code: The provider's machine code, or None.
        verdict: The verdict of `classify` on the error, or None.
        exceptions: Stand-ins for the members of an exception group; else empty.
    """

    def __init__(
        self,
        class_name: str = "",
        text: str = "",
        *,
        status: int | None = None,
        code: str | None = None,
        verdict: Any = None,
        exceptions: tuple[StandIn, ...] = (),
    ) -> None:
        super().__init__(class_name, text)
        self.class_name = class_name
        self.text = text
        self.status = status
        self.code = code
        self.verdict = verdict
        self.exceptions = exceptions

    def __str__(self) -> str:
        return f"{self.class_name}: {self.text}" if self.text else self.class_name

    def __repr__(self) -> str:
        return f"<StandIn for {self}>"

    def again(self) -> StandIn:
        """A copy to raise: one object raised in many places would collect all their frames."""
        twin = StandIn.__new__(StandIn, *self.args)
        twin.__dict__.update(self.__dict__)
        twin.__cause__ = self.__cause__
        return twin

    def __copy__(self) -> StandIn:
        return self.again()

    def __deepcopy__(self, memo: dict[int, Any]) -> StandIn:
        return self.again()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.args, self.__dict__, self.__cause__)


def _rebuilt(args: tuple[Any, ...], attributes: dict[str, Any], cause: BaseException | None) -> StandIn:
    found = StandIn(*args)
    found.__dict__.update(attributes)
    found.__cause__ = cause
    return found


def stand_in(error: BaseException, *, private: tuple[object, ...] = (), verdict: Any = None) -> StandIn:
    """
    A stand-in for an error and, as its `__cause__`, for the cause of the error.

    Args:
        error: The error. A stand-in is copied.
        private: Values of the request, which the text may quote.
        verdict: The verdict on the error, if known.
    """
    return _stand_in(error, private, verdict, _DEEPEST, count())


def _stand_in(
    error: BaseException, private: tuple[object, ...], verdict: Any, deepest: int, made_already: Iterator[int]
) -> StandIn:
    if next(made_already) >= _MOST_IN_ALL:
        deepest = 0
    if isinstance(error, StandIn):
        return error.again()
    try:
        facts = _facts_of(error)
    except Exception:  # noqa: BLE001 - an error whose attributes raise is one of which nothing is known
        facts = Facts()
    members = error.exceptions[:_MOST_MEMBERS] if isinstance(error, BaseExceptionGroup) and deepest else ()
    made = StandIn(
        type(error).__name__,
        _text_of(error, private) if facts.text is None else scrub(facts.text, private=private),
        status=facts.status,
        code=facts.code,
        verdict=verdict if verdict is not None else facts.verdict,
        exceptions=tuple(_stand_in(each, private, None, deepest - 1, made_already) for each in members),
    )
    for note in _notes_of(error):
        made.add_note(scrub(note, private=private))
    if error.__traceback__ is not None:
        made.add_note("resilient_ai: kept without its frames; it came through\n" + _lines(error.__traceback__))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and deepest:
        made.__cause__ = _stand_in(cause, private, None, deepest - 1, made_already)
    return made


def _text_of(error: BaseException, private: tuple[object, ...]) -> str:
    try:
        return scrub(str(error), private=private)
    except Exception:  # noqa: BLE001 - a message that cannot be read
        return ""


def _notes_of(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", ())  # any code can set them to anything
    return [note for note in notes[:_MOST_NOTES] if isinstance(note, str)] if isinstance(notes, list) else []


def _lines(traceback: TracebackType | None) -> str:
    """The places of the frames, outermost first, in Python's form, without the code, which may contain a prompt."""
    found: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        found.append(f'  File "{code.co_filename}", line {traceback.tb_lineno}, in {code.co_name}')
        traceback = traceback.tb_next
    return "\n".join(found[-_FRAMES_NAMED:])
