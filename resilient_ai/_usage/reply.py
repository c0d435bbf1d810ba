"""`Reply`: the text of an answer, with more facts about the answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, TypeAlias

from resilient_ai._core.public import public
from resilient_ai._core.usage import Usage

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]


@public("providers")
@dataclass(frozen=True, slots=True)
class ToolCall:
    """
    A tool call that the model asks for.

    Attributes:
        id: Identifies this call in the message with its result.
        name: Name of the tool.
        arguments: The arguments from the model, parsed.
    """

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@public("providers")
class Reply(str):
    """
    The text of an answer, with more facts about the answer.

    It is a `str` in every respect: it compares, hashes, prints and serialises to JSON like its text, and counts like it
    as an argument or as the key of a memory. A pickle and a copy keep everything except `raw`.

    Attributes:
        finish_reason: Why the answer ended: "stop", "length" (it was cut), "tool_calls", "content_filter", "refusal";
            None if unknown.
        usage: Tokens; None if unknown.
        tool_calls: Tool calls that the model asks for, in order.
        parsed: The answer in the form of `schema=`; None without a schema.
        model: Model that answered, as the provider names it; None if unknown.
        endpoint: Name of the endpoint.
        raw: The SDK's own result; for a stream, its last event. Not pickled or copied.

    Examples:
        >>> answer = Reply("It rains.", finish_reason="stop", model="gpt-4o-mini")
        >>> answer == "It rains.", answer.finish_reason
        (True, 'stop')
    """

    counts_as_text: ClassVar[bool] = True  # for keys of arguments and memories

    finish_reason: FinishReason | None
    usage: Usage | None
    tool_calls: tuple[ToolCall, ...]
    parsed: Any
    model: str | None
    endpoint: str | None
    raw: Any

    def __new__(
        cls,
        text: str = "",
        *,
        finish_reason: FinishReason | None = None,
        usage: Usage | None = None,
        tool_calls: Iterable[ToolCall] = (),
        parsed: Any = None,
        model: str | None = None,
        endpoint: str | None = None,
        raw: Any = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Self:
        made = super().__new__(cls, text)
        made.finish_reason = finish_reason
        made.usage = usage
        made.tool_calls = tuple(tool_calls)
        made.parsed = parsed
        made.model = model
        made.endpoint = endpoint
        made.raw = raw
        # Data that a vendor needs back with the next message, by vendor: signatures of its reasoning.
        made._extra = dict(extra or {})
        return made

    _extra: dict[str, Any]

    @property
    def message(self) -> dict[str, Any]:
        """
        This answer as a message in OpenAI's form, to continue the conversation: `[*messages, reply.message, result]`.

        The result of a tool call is `{"role": "tool", "tool_call_id": call.id, "content": "…"}`.
        """
        message: dict[str, Any] = {"role": "assistant", "content": str(self)}
        if self.tool_calls:
            message["content"] = str(self) or None
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
                }
                for call in self.tool_calls
            ]
        if self._extra:
            message["extra_content"] = deepcopy(self._extra)
        return message

    def with_text(self, text: str) -> Self:
        """A copy with another text, for example with a prefix that marks the origin of the answer."""
        return type(self)(text, **self._facts(), raw=self.raw)

    def _facts(self) -> dict[str, Any]:
        return {
            "finish_reason": self.finish_reason,
            "usage": self.usage,
            "tool_calls": self.tool_calls,
            "parsed": self.parsed,
            "model": self.model,
            "endpoint": self.endpoint,
            "extra": self._extra,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), self._facts())


def _rebuild(cls: type[Reply], text: str, facts: dict[str, Any]) -> Reply:
    return cls(text, **facts)
