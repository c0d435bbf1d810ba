"""
Where a programming error comes from: the program, or an SDK that got an answer it cannot read.

The traceback decides: the innermost frame outside the libraries in between (the standard library, pydantic, this
library's policies) belongs to the program or to an SDK. In doubt it is the program's.
"""

from __future__ import annotations

import sys
from enum import Enum
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from resilient_ai._core.errors import ResilienceError
from resilient_ai._core.fields import read

from .evidence import SDK_ROOTS, root_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

# Every class derived from these is raised by a wrong line of code.
_ALWAYS = (
    AssertionError,
    AttributeError,
    ImportError,
    NameError,
    NotImplementedError,
    RecursionError,
    ReferenceError,
    SyntaxError,
    TypeError,
)
# Libraries derive their own exceptions from these, for data that do not fit; only Python's own classes are bugs.
_PYTHONS_OWN = (
    ArithmeticError,
    BufferError,
    LookupError,
    MemoryError,
    StopAsyncIteration,
    StopIteration,
    ValueError,
)
_HTTP = frozenset({"h11", "h2", "hpack", "httpx_sse", "aiohttp_retry", "google_auth_httplib2", "eventsource"})
# Code that both SDKs and programs call: the frame that called it decides.
_BETWEEN = sys.stdlib_module_names | {
    "pydantic",
    "pydantic_core",
    "typing_extensions",
    "anyio",
    "trio",
    "outcome",
    "sniffio",
    "tenacity",
    "wrapt",
    "jiter",
    "msgspec",
    "jsonschema",
    "multidict",
    "yarl",
}
_MOST_FRAMES = 100
_MOST_LOCALS = 60


class Origin(Enum):
    """Where an exception was raised."""

    PROGRAM = "the program"
    SDK = "an SDK, before a reply had arrived"
    SDK_AFTER_REPLY = "an SDK, after a reply had arrived"


def is_programming_error(error: BaseException) -> bool:
    """Whether the exception is of a kind that Python raises when a line of code is wrong."""
    cls: Any = type(error)  # mypy would use the hash of the instances for the class
    return _is_pythons_own(cls)


@lru_cache(maxsize=256)  # called several times for each failure
def _is_pythons_own(cls: type[Any]) -> bool:
    if issubclass(cls, ResilienceError) or root_of(cls) in SDK_ROOTS:  # `ParameterError` is a TypeError
        return False
    own = root_of(cls) in sys.stdlib_module_names
    return issubclass(cls, _ALWAYS) or (own and issubclass(cls, _PYTHONS_OWN))


def origin_of(error: BaseException) -> Origin:
    """Where an exception was raised, by its traceback."""
    inside = False
    for traceback in _tracebacks(error):
        frame = traceback.tb_frame
        where = _owner(frame)
        if where == "between":
            continue
        if where == "program":
            break
        inside = True
        if _holds_a_reply(frame):
            return Origin.SDK_AFTER_REPLY
    return Origin.SDK if inside else Origin.PROGRAM


def raised_at(error: BaseException) -> TracebackType | None:
    """The innermost line of the program or of an SDK that an exception passed through."""
    return next((each for each in _tracebacks(error) if _owner(each.tb_frame) != "between"), None)


def _tracebacks(error: BaseException) -> Iterator[TracebackType]:
    """Iterate over the lines that the exception passed through, the innermost first."""
    passed = []
    traceback = error.__traceback__
    while traceback is not None:
        passed.append(traceback)
        traceback = traceback.tb_next
    return islice(reversed(passed), _MOST_FRAMES)


def _owner(frame: FrameType) -> str:
    module = str(frame.f_globals.get("__name__"))
    root = module.partition(".")[0]
    if root in SDK_ROOTS or root in _HTTP or module.startswith("resilient_ai.providers"):
        return "sdk"
    # A script is called __main__, which is also the name of a standard module.
    return "between" if root == "resilient_ai" or (root in _BETWEEN and root != "__main__") else "program"


def _holds_a_reply(frame: FrameType) -> bool:
    """Whether a function of an SDK holds a reply in its variables: an HTTP response, or data made from one."""
    try:
        values = list(islice(frame.f_locals.values(), _MOST_LOCALS))
    except Exception:  # noqa: BLE001 - names of an odd frame
        return False
    values += [read(values[0], name) for name in ("response", "_response", "http_response")] if values else []
    return any(_is_reply(value) for value in values)


def _is_reply(value: Any) -> bool:
    if value is None or isinstance(value, str | bytes | int | float | list | tuple | type):
        return False
    if isinstance(value, dict):  # botocore
        return "status_code" in value and "headers" in value
    cls = type(value)
    if read(value, "headers") is not None and any(
        isinstance(read(value, name), int) for name in ("status_code", "status")
    ):
        return True
    # What our endpoints read the answer from: a model that an SDK made from the reply.
    return root_of(cls) in SDK_ROOTS and cls.__name__.endswith(("Completion", "Response", "Message", "Chunk", "Event"))
