"""
Errors which mean that the provider answered, but the answer does not fit.

Libraries for structured output have no common base class, so these exceptions are recognised by their names.
"""

from __future__ import annotations

from functools import lru_cache

from resilient_ai._core.errors import ErrorType

from .bugs import Origin, is_programming_error, origin_of
from .evidence import root_of
from .phrases import compiled
from .verdict import Verdict, verdict

# Class names along the MRO, of any library.
_MISFIT = (
    r"JSONDecodeError|LengthFinishReason|OutputPars|Incomplete(?:Output|ToolCall)|Response(?:Validation|Pars)"
    r"|Output(?:Validation|Schema)|SchemaValidation|UnknownApiResponse|AdapterParse|Model\w{0,4}Behavior"
    r"|ContentTypeError"
)
_FILTERED = (
    r"ContentFilterFinishReason|^(?:ContentFilter|ResponseBlocked)Error$|^(?:StopCandidate|BlockedPrompt)Exception$"
)
# Libraries whose `ValidationError` and `DecodeError` are about data.
_VALIDATORS = frozenset(
    {"pydantic", "pydantic_core", "jsonschema", "msgspec", "cattrs", "marshmallow", "fastjsonschema"}
)
_DECODERS = frozenset({"msgspec", "orjson", "simplejson", "ujson", "rapidjson"})


def from_output(error: BaseException) -> Verdict | None:
    """The verdict for an error about an answer; None for any other error."""
    kind, name = _by_name(type(error))  # type: ignore[arg-type]
    if kind is None:
        if is_programming_error(error) and origin_of(error) is Origin.SDK_AFTER_REPLY:
            return verdict(ErrorType.INVALID_OUTPUT, evidence=f"{type(error).__name__} in an SDK that read a reply")
        return None
    if kind is ErrorType.INVALID_OUTPUT and origin_of(error) is Origin.SDK and _is_validation(type(error)):
        kind = ErrorType.INVALID_REQUEST  # the SDK validates requests too
    return verdict(kind, evidence=f"class {name}")


def is_misfit(error: BaseException) -> bool:
    """Whether the class alone shows that the answer does not fit."""
    return _by_name(type(error))[0] is not None  # type: ignore[arg-type]


@lru_cache(512)
def _by_name(cls: type) -> tuple[ErrorType | None, str]:
    for base in cls.__mro__:
        if base is Exception:
            break
        name = base.__name__
        if compiled(_FILTERED).search(name):
            return ErrorType.CONTENT_FILTER, name
        if compiled(_MISFIT).search(name) or _is_validation(base):
            return ErrorType.INVALID_OUTPUT, name
        if root_of(base) in _DECODERS and "Decode" in name:
            return ErrorType.INVALID_OUTPUT, name
    return None, ""


def _is_validation(cls: type) -> bool:
    return root_of(cls) in _VALIDATORS and "ValidationError" in cls.__name__
