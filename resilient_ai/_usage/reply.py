"""`Reply`: the text of an answer that knows more."""

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
    A tool that the model wants to be called.

    Attributes:
        id: Names this call in the message that brings its result.
        name: Of the tool.
        arguments: As the model wrote them, parsed.
    """

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@public("providers")
class Reply(str):
    """
    The text of an answer, with what else is known of it.

    It is a `str` in every respect: it compares, hashes, prints, goes into JSON, and counts as an argument or as the
    key of a memory like its text. A pickle and a copy keep everything but `raw`.

    Attributes:
        finish_reason: Why the answer ended: "stop", "length" (it was cut), "tool_calls", "content_filter", "refusal";
            None where nobody said.
        usage: Tokens; None where nobody said.
        tool_calls: Tools that the model wants to be called, in order.
        parsed: The answer in the form of `schema=`; None without a schema.
        model: Model that answered, as the provider names it.
        endpoint: Name of the endpoint.
        raw: The SDK's own result; of a stream, its last event. Not pickled or copied.

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
        # What a vendor wants to have back with the next message, by vendor: signatures of its reasoning.
        made._extra = dict(extra or {})
        return made

    _extra: dict[str, Any]

    @property
    def message(self) -> dict[str, Any]:
        """
        This answer as a message in OpenAI's form, to go on from: `[*messages, reply.message, result]`.

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
        """The same facts about another text, as a prefix that marks where an answer comes from makes it."""
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
