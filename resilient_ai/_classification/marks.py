"""
Evidence in plain text: what SDKs and code around them write about a reply that is no longer available.

Only unambiguous marks are read: the class of an exception before a colon, an AWS shape in parentheses, a status after
the word "status" or before its own name. A bare number is not a status.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from .evidence import Evidence, embedded, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

_REASONS = (
    "bad request|unauthorized|payment required|forbidden|not found|request time-?out|conflict|gone|payload too large"
    "|unprocessable (?:entity|content)|too many requests|internal server error|bad gateway"
    "|service (?:temporarily )?unavailable|gateway time-?out"
)
_STATUSES = (
    # after a word for it: "status code 429", "HTTP 503", "error code: 402"
    r"(?:error code|(?:response|http|status)[ _]code|status|\bhttps?(?:/\d(?:\.\d)?)?(?: error| status)?)\W{1,4}([45]\d\d)(?!\d)",
    # before its own name: "502 Bad Gateway"
    rf"(?<![\d.])([45]\d\d)\W{{1,3}}(?:{_REASONS})\b",
    # at the beginning, before a colon or the name of a code: "400: …", "[503] …", "429 RESOURCE_EXHAUSTED"
    r"\A\W{0,3}([45]\d\d)(?:[:\]]|\s?-\s|\s?\Z|\.? (?-i:[A-Z][A-Z_]{4,30}\b))",
    r"<([45]\d\d)>",
)
_CODES = (
    r"\((\w{3,60}(?:Exception|Error))\)",  # An error occurred (ThrottlingException) when calling the Converse operation
    r"exception-type['\"]{0,2}: {0,2}['\"]{0,2}(\w{3,60})",  # a frame of an AWS event stream
    r"\bStatusCode\.([A-Z_]{2,30})\b",  # gRPC
    r"\b(?:[A-Z]\w{1,40}\.){1,3}([A-Z]\w{2,60})\b",  # InternalError.Algo.DataInspectionFailed
)
# litellm.RateLimitError: …; openai.APIConnectionError: …; AxiosError: … at the beginning
_CLASSES = (
    r"\b[a-z_]\w{1,40}(?:\.\w{1,40}){0,4}\.([A-Z]\w{2,60})(?=[:(])",
    r"\A\W{0,3}([A-Z]\w{2,60}(?:Error|Exception|Timeout|Exhausted|Unavailable|Exceeded))(?=[:( ]|\Z)",
)


@cache
def _compiled(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(pattern, flags)


def marks_in(text: str) -> Evidence:
    """The evidence in a text: the statuses, codes and classes that it names, and a quoted object."""
    found = Evidence("", texts=[text])
    if "exception-type" not in text:  # the status of such a frame is made up
        found.status = next(statuses_in(text), None)
    if (quoted := embedded(text)) is not None:
        found.bodies.append(quoted)
        walk(quoted, found)
    found.codes.extend(classes_in(text))
    for pattern in _CODES:
        found.codes.extend(match[1] for match in _compiled(pattern).finditer(text))
    return found


def statuses_in(text: str) -> Iterator[int]:
    """Iterate over the HTTP statuses of failures that a text names."""
    for pattern in _STATUSES:
        for match in _compiled(pattern, re.IGNORECASE).finditer(text):
            yield int(match[1])


def classes_in(text: str) -> Iterator[str]:
    """Iterate over the exception classes that a text begins with, or names with their module."""
    for pattern in _CLASSES:
        for match in _compiled(pattern).finditer(text):
            yield match[1]
