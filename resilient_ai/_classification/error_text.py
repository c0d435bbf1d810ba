"""What an event may say of an error: never a part of an answer."""

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
    The text of an error, still to be scrubbed; "" when it cannot be read.

    What went wrong while an answer was read often quotes the answer: a pydantic error its input, a KeyError or a
    ValueError the text that was looked up or converted. Of those, only the kinds of mistakes and the place are told.
    """
    if not _may_quote(error, verdict):
        try:
            return str(error)
        except Exception:  # noqa: BLE001 - an exception's own __str__ may raise
            return ""
    return " ".join(filter(None, (_mistakes(error), _place(error))))


def error_message(error: BaseException, verdict: Verdict) -> str:
    """The same where nothing else names the class of the error, which is named if the text says little."""
    text = error_text(error, verdict)
    return text if text and not _may_quote(error, verdict) else f"{type(error).__name__} {text}".rstrip()


def _may_quote(error: BaseException, verdict: Verdict) -> bool:
    """Whether the text may quote the answer; those of our own errors never do."""
    if isinstance(error, ResilienceError):
        return False
    return verdict.error_type is ErrorType.INVALID_OUTPUT or verdict.blame == "program"


def _mistakes(error: BaseException) -> str:
    """Which mistakes a pydantic error lists; not where, because the keys of a dictionary are a part of the answer."""
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
