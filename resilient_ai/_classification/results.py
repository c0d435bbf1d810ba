"""`classify_result`: answers that are really failures, because not every SDK raises what its provider sends."""

from __future__ import annotations

from itertools import islice
from typing import Any

from resilient_ai._core.errors import ErrorType
from resilient_ai._core.public import public

from .replies import classify_body

_FILTERED = frozenset(
    [
        "content_filter",
        "content_filtered",
        "refusal",
        "guardrail_intervened",
        "safety",
        "prohibited_content",
        "blocklist",
        "spii",
        "recitation",
        "image_safety",
    ]
)


@public()
def classify_result(result: Any) -> ErrorType | None:
    """
    What a returned value is really, when it is no answer; made for `reject=classify_result`.

    It knows an error inside a body with status 200, a failed response, a blocked prompt, a refusal, an answer cut off
    by a content filter, and a page of HTML, as the SDKs of OpenAI, Anthropic, Google, Bedrock and OpenRouter return
    them: as objects, dictionaries, lists of stream events or text.

    Args:
        result: What the function returned.

    Returns:
        The error it stands for; None for an answer, and for whatever it does not know.

    >>> classify_result({"choices": [{"finish_reason": "content_filter", "message": {"content": None}}]})
    <ErrorType.CONTENT_FILTER: 'content_filter'>
    >>> classify_result({"choices": [{"finish_reason": "stop", "message": {"content": "no"}}]}) is None
    True
    """
    if isinstance(result, str):
        page = result[:200].lstrip().lower()
        return ErrorType.INTERNAL_ERROR if page.startswith(("<!doctype html", "<html")) else None
    if isinstance(result, list):
        return next((kind for each in result[:1_000] if (kind := classify_result(each)) is not None), None)
    for part in (result, _get(result, "response"), *_items(result, "choices"), *_items(result, "candidates")):
        if (kind := _classify_part(part)) is not None:
            return kind
    return None


def _classify_part(part: Any) -> ErrorType | None:
    ends = (_get(part, name) for name in ("finish_reason", "finishReason", "stop_reason", "stopReason"))
    feedback = _get(part, "promptFeedback") or _get(part, "prompt_feedback")
    details = _get(part, "incomplete_details")
    blocked = _get(feedback, "blockReason") or _get(feedback, "block_reason")
    if blocked or any(_word(end) in _FILTERED for end in (*ends, _get(details, "reason"))):
        return ErrorType.CONTENT_FILTER
    error = part if _get(part, "type") == "error" else _get(part, "error")
    if error:
        return classify_body(_plain(error))
    failed = _get(part, "status") == "failed" or _get(part, "finish_reason") == "error"
    return ErrorType.INTERNAL_ERROR if failed else None


def _get(thing: Any, name: str) -> Any:
    if isinstance(thing, dict):
        return thing.get(name)
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a property of somebody else's
        return None


def _items(thing: Any, name: str) -> list[Any]:
    found = _get(thing, name)
    return list(islice(found, 20)) if isinstance(found, list | tuple) else []


def _word(end: Any) -> str:
    return str(getattr(end, "value", end)).rpartition(".")[2].lower()


def _plain(error: Any) -> Any:
    if isinstance(error, dict | str):
        return error
    attributes = getattr(error, "__dict__", None)
    return dict(attributes) if isinstance(attributes, dict) else str(error)
