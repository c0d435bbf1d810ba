"""
Read the usage from results of the SDKs, by their fields; no SDK is imported.

Vendors count differently. Anthropic counts cached input in addition to `input_tokens`, OpenAI and Google as a part of
it. Google counts thoughts in addition to the answer, and tool input in addition to the prompt; others include them.
`Usage` includes all of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resilient_ai._core.public import public
from resilient_ai._core.usage import Usage

_MOST = 10**12  # a larger number in a reply is not a count, and would spoil all sums


@public("usage")
def usage_of(result: Any) -> Usage | None:
    """
    Read the usage from a result.

    Args:
        result: A result, or the last event of a stream, of the SDKs of OpenAI (chat, Responses, embeddings), Anthropic
            or Google; its JSON as a mapping; or a `Reply`.

    Returns:
        The usage; None if the result has none.

    Examples:
        >>> usage_of({"usage": {"prompt_tokens": 7, "completion_tokens": 2}})
        Usage(input_tokens=7, output_tokens=2, cache_read_tokens=0, cache_write_tokens=0, reasoning_tokens=0)
    """
    told = field(result, "usage")
    if isinstance(told, Usage):
        return told
    google = field(result, "usage_metadata", "usageMetadata")
    if google is not None and (usage := _google(google)) is not None:
        return usage
    for holder in (result, field(result, "response"), field(result, "message")):  # stream events contain the result
        told = field(holder, "usage")
        if told is not None:
            return _openai_or_anthropic(told)
    return None


def _google(told: Any) -> Usage | None:
    thoughts = _count(told, "thoughts_token_count", "thoughtsTokenCount")
    into = _first_count(told, "prompt_token_count", "promptTokenCount")
    out = _first_count(told, "candidates_token_count", "candidatesTokenCount")
    if into is None and out is None:
        return None
    return Usage(
        input_tokens=(into or 0) + _count(told, "tool_use_prompt_token_count", "toolUsePromptTokenCount"),
        output_tokens=(out or 0) + thoughts,
        cache_read_tokens=_count(told, "cached_content_token_count", "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
    )


def _openai_or_anthropic(told: Any) -> Usage | None:
    into = _first_count(told, "prompt_tokens", "input_tokens")
    out = _first_count(told, "completion_tokens", "output_tokens")
    if into is None and out is None:
        return None
    beside_read = _count(told, "cache_read_input_tokens")
    beside_write = _count(told, "cache_creation_input_tokens")
    into_details = field(told, "prompt_tokens_details", "input_tokens_details")
    out_details = field(told, "completion_tokens_details", "output_tokens_details")
    return Usage(
        input_tokens=(into or 0) + beside_read + beside_write,
        output_tokens=out or 0,
        cache_read_tokens=beside_read or _count(into_details, "cached_tokens"),
        cache_write_tokens=beside_write or _count(into_details, "cache_write_tokens"),
        reasoning_tokens=_count(out_details, "reasoning_tokens", "thinking_tokens"),
    )


def field(thing: Any, *names: str) -> Any:
    """The first of these fields of a mapping or an object that exists and is not None."""
    if thing is None or (isinstance(thing, str) and type(thing) is str):
        return None
    for name in names:
        try:
            value = thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)
        except Exception:  # noqa: BLE001 - a property of somebody else's
            value = None
        if value is not None:
            return value
    return None


def _first_count(told: Any, *names: str) -> int | None:
    value = field(told, *names)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST else None


def _count(told: Any, *names: str) -> int:
    return _first_count(told, *names) or 0
