"""`classify_result`: find failures among returned values, because not every SDK raises its provider's errors."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from resilient_ai._core.errors import ErrorType
from resilient_ai._core.fields import field_of
from resilient_ai._core.public import public

from .provider_rules import CODES, STATUS_NAMES, plain
from .replies import classify_body

if TYPE_CHECKING:
    from collections.abc import Iterator

# Reasons for the end of an answer, as the providers name them; case does not matter.
_ENDS: dict[str, ErrorType] = {
    **dict.fromkeys(
        (
            "blocklist",
            "content_blocked",
            "content_filter",
            "content_filtered",
            "error_toxic",
            "escalation",
            "guardrail_intervened",
            "image_prohibited_content",
            "image_recitation",
            "image_safety",
            "language",
            "model_armor",
            "prohibited_content",
            "pup_limited_disabled",
            "recitation",
            "refusal",
            "safety",
            "sensitive",
            "spii",
        ),
        ErrorType.CONTENT_FILTER,
    ),
    **dict.fromkeys(("error", "failed", "missing_thought_signature", "network_error"), ErrorType.INTERNAL_ERROR),
    "insufficient_system_resource": ErrorType.MODEL_OVERLOADED,
    "timeout": ErrorType.TIMEOUT,
    "malformed_function_call": ErrorType.INVALID_OUTPUT,
    "malformed_response": ErrorType.INVALID_OUTPUT,
    "no_image": ErrorType.INVALID_OUTPUT,
    "too_many_tool_calls": ErrorType.INVALID_OUTPUT,
    "unexpected_tool_call": ErrorType.INVALID_OUTPUT,
}
_END_NAMES = ("finish_reason", "finishReason", "stop_reason", "stopReason", "native_finish_reason")
_CUT = frozenset({"max_output_tokens", "max_tokens", "length"})  # still an answer, as in chat completions
# Fields that an answer has and an error does not have.
_CONTENT = (
    *("choices", "candidates", "content", "output", "text", "data", "embeddings", "embedding", "results", "delta"),
    *("completion", "generations", "parts", "usage"),
)
_MESSAGES = ("message", "msg", "detail", "error_msg", "error_message", "errorMessage", "status_msg")
_CODES = ("code", "status", "type", "error_code", "errorCode", "status_code", "statusCode")


@public()
def classify_result(result: Any) -> ErrorType | None:
    """
    Find out whether a returned value is a failure; made for `reject=classify_result`.

    It recognises an error inside a body with status 200 (with or without a key "error"), a failed or incomplete
    response, a blocked prompt, a refusal, an answer cut off by a content filter, and a page of HTML, in the forms that
    the SDKs of OpenAI, Anthropic, Google, Bedrock, Cohere and OpenRouter return: objects, dictionaries, events of a
    stream, lists of these, or text. An answer that reached its token limit is an answer.

    Args:
        result: The result of the function, or one item of a stream.

    Returns:
        The error type; None for an answer, and for anything that it does not recognise.

    >>> classify_result({"choices": [{"finish_reason": "content_filter", "message": {"content": None}}]})
    <ErrorType.CONTENT_FILTER: 'content_filter'>
    >>> classify_result({"choices": [{"finish_reason": "stop", "message": {"content": "no"}}]}) is None
    True
    """
    if isinstance(result, str):
        page = result[:200].lstrip().lower()
        return ErrorType.INTERNAL_ERROR if page.startswith(("<!doctype html", "<html")) else None
    if result is None or isinstance(result, bytes | int | float):
        return None
    if isinstance(result, list):
        return next((kind for each in result[:1_000] if (kind := classify_result(each)) is not None), None)
    return next((kind for part in _parts(result) if (kind := _classify_part(part)) is not None), None)


def failure_of_end(reason: Any) -> ErrorType | None:
    """The failure behind the reason for which an answer ended; None if it ended well or was cut."""
    return _ENDS.get(_word(reason))


def _parts(result: Any) -> Iterator[Any]:
    """Iterate over the parts that may hold a failure: the whole, the content of events, each choice, each piece."""
    yield result
    for name in ("response", "message", "delta", "messageStop", "base_resp"):
        yield field_of(result, name)
    for choice in (*_items(result, "choices"), *_items(result, "candidates")):
        yield choice
        yield field_of(choice, "message")
        yield field_of(choice, "delta")
    output = _items(result, "output") or _items(field_of(result, "response"), "output")
    for item in output:
        yield from _items(item, "content")
    yield from _items(result, "prompt_filter_results")


def _classify_part(part: Any) -> ErrorType | None:
    if part is None or isinstance(part, str):
        return None
    if _is_filtered(part):
        return ErrorType.CONTENT_FILTER
    kind = str(field_of(part, "type"))
    if error := part if kind == "error" else field_of(part, "error"):
        return classify_body(_plain(error))
    for name in _END_NAMES:
        if (end := field_of(part, name)) is not None and (found := _ENDS.get(_word(end))) is not None:
            return found
    if kind in ("response.failed", "response.incomplete"):  # events that hold the response
        part = field_of(part, "response") or {"status": kind.partition(".")[2]}
        return _classify_part(part)
    status = _word(field_of(part, "status"))
    if status == "failed":
        return ErrorType.INTERNAL_ERROR
    if status == "incomplete":
        reason = _word(field_of(field_of(part, "incomplete_details"), "reason"))
        return None if reason in _CUT else _ENDS.get(reason, ErrorType.INVALID_OUTPUT)
    return classify_body(_plain(part)) if _is_bare_error(part) else None


def _is_filtered(part: Any) -> bool:
    """Whether a filter or the model itself holds something back in this part."""
    feedback = field_of(part, "promptFeedback") or field_of(part, "prompt_feedback")
    if field_of(feedback, "blockReason") or field_of(feedback, "block_reason"):
        return True
    refusal = field_of(part, "refusal")
    if (isinstance(refusal, str) and refusal) or str(field_of(part, "type")).startswith(
        ("refusal", "response.refusal")
    ):
        return True
    # Azure, also in the middle of a text.
    found = field_of(part, "content_filter_results") or field_of(part, "content_filter_result")
    return isinstance(found, dict) and any(field_of(each, "filtered") is True for each in islice(found.values(), 50))


def _is_bare_error(part: Any) -> bool:
    """Whether this is an error without a key "error": just a message and a code that means an error."""
    if any(field_of(part, name) for name in _CONTENT):
        return False
    if not any(isinstance(field_of(part, name), str) and field_of(part, name) for name in _MESSAGES):
        return False
    if field_of(part, "object") == "error" or field_of(part, "success") is False:
        return True
    if field_of(part, "error_code") or field_of(part, "errorCode"):
        return True
    return any(_means_an_error(field_of(part, name)) for name in _CODES)


def _means_an_error(code: Any) -> bool:
    if isinstance(code, bool) or not isinstance(code, int | str):
        return False
    text = str(code)
    if text.isdecimal():
        return 400 <= int(text[:6]) <= 599 or 1_000 <= int(text[:6]) <= 9_999
    return text.lower().endswith(("error", "exception")) or plain(text) in CODES or plain(text) in STATUS_NAMES


def _items(thing: Any, name: str) -> list[Any]:
    found = field_of(thing, name)
    return list(islice(found, 20)) if isinstance(found, list | tuple) else []


def _word(end: Any) -> str:
    return str(getattr(end, "value", end)).rpartition(".")[2].lower()


def _plain(error: Any) -> Any:
    if isinstance(error, dict | str):
        return error
    attributes = getattr(error, "__dict__", None)
    if not isinstance(attributes, dict):
        return str(error)
    extra = getattr(error, "__pydantic_extra__", None)  # fields that an SDK's model did not expect
    return {**attributes, **extra} if isinstance(extra, dict) else dict(attributes)
