"""The text of an error in an event, which must not contain a part of an answer."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import PurePath
from typing import Any

from resilient_ai._core.errors import ErrorType, ResilienceError
from resilient_ai._core.fields import read

from .bugs import raised_at
from .verdict import Verdict

_MOST_KINDS = 5


def error_text(error: BaseException, verdict: Verdict) -> str:
    """
    The text of an error, still to be scrubbed; "" if it must not be shown.

    Errors raised while an answer was read often quote it: a pydantic error quotes its input, a KeyError or a ValueError
    the text that was looked up or converted. For those, only the kinds of mistakes are given.
    """
    if not _may_quote(error, verdict):
        try:
            return str(error)
        except Exception:  # noqa: BLE001 - an exception's own __str__ may raise
            return ""
    return " ".join(filter(None, (_mistakes(error), _place(error))))


def error_message(error: BaseException, verdict: Verdict) -> str:
    """The same with the class of the error, for events that do not name it, if the text alone says too little."""
    text = error_text(error, verdict)
    return text if text and not _may_quote(error, verdict) else f"{type(error).__name__} {text}".rstrip()


def _may_quote(error: BaseException, verdict: Verdict) -> bool:
    """Whether the text may quote the answer; texts of our own errors never do."""
    if isinstance(error, ResilienceError):
        return False
    return verdict.error_type is ErrorType.INVALID_OUTPUT or verdict.blame == "program"


def _mistakes(error: BaseException) -> str:
    """The kinds of mistakes in a pydantic error, without their places: keys of a dict are a part of the answer."""
    if not callable(errors := read(error, "errors")):
        return ""
    try:
        listed: Any = errors()
        kinds = Counter(str(each["type"]) for each in islice(listed, 1_000))
    except Exception:  # noqa: BLE001 - an `errors` of another kind
        return ""
    told = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(_MOST_KINDS))
    return f"({told})" if told else ""


def _place(error: BaseException) -> str:
    traceback = raised_at(error)
    if traceback is None:
        return ""
    code = traceback.tb_frame.f_code
    return f"in {code.co_name} ({PurePath(code.co_filename).name}:{traceback.tb_lineno})"
