"""Whether an answer is worth remembering: not cut off, not refused, not a tool call, not blank."""

from __future__ import annotations

from typing import Any, Final

from resilient_ai._core.fields import field_of

_WHOLE: Final = frozenset(
    "stop end_turn stop_sequence completed complete eos eos_token finish finished success done none".split()  # noqa: SIM905
)
"""Stop reasons of providers that mean a complete answer; every other reason means an incomplete one."""

_UNFINISHED: Final = frozenset(("incomplete", "failed", "in_progress", "cancelled", "queued"))
_REASONS: Final = ("finish_reason", "stop_reason", "finishReason", "stopReason", "done_reason")
_MARKS: Final = ("tool_calls", "function_call", "refusal", "function_calls", "incomplete_details", "toolUse")
_TOOL_PARTS: Final = frozenset(
    ("tool_use", "server_tool_use", "tool_call", "function_call", "function", "computer_call", "custom_tool_call")
)
_DEEPEST: Final = 10
_INNER: Final = ("choices", "candidates", "output", "message", "delta", "content", "parts")


def ended_well(answer: Any) -> bool:
    """
    Whether an answer of an SDK, an object or a dict, is complete; plain text only has to be non-empty.

    Reads OpenAI's `finish_reason`, `tool_calls`, `refusal` and `status`, Anthropic's `stop_reason`, Google's
    `finish_reason` and function calls, the same of Cohere, Mistral and Bedrock, and those of a `Reply`.
    """
    if answer is None:
        return False
    if isinstance(answer, str):
        return bool(answer.strip()) and (type(answer) is str or _says_whole(answer))
    return isinstance(answer, int | float | bytes) or _says_whole(answer)


def _says_whole(part: Any, depth: int = 0) -> bool:
    if depth > _DEEPEST:
        return True
    for name in _REASONS:
        reason = field_of(part, name)
        if reason and _word(reason) not in _WHOLE:
            return False
    # A user's own `status` may be anything, so only the values of a provider's unfinished answers count.
    if _word(field_of(part, "status")) in _UNFINISHED or any(field_of(part, name) for name in _MARKS):
        return False
    if field_of(part, "type") in _TOOL_PARTS:
        return False
    return all(_says_whole(each, depth + 1) for name in _INNER for each in _parts(field_of(part, name)))


def _word(reason: Any) -> str:
    return str(getattr(reason, "name", reason)).lower().removeprefix("finish_reason_")


def _parts(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [each for each in value if not isinstance(each, str | int | float | bytes | None)]
    return [] if value is None or isinstance(value, str | int | float | bytes) else [value]
