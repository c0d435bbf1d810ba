"""`FakeAnswer`: the answer of a fake provider, independent of the wire format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from resilient_ai._core.public import public
from resilient_ai._usage.reply import FinishReason, ToolCall


@public("testing")
@dataclass(frozen=True, slots=True)
class FakeAnswer:
    """
    An answer with more than a text, for the `answer=` function or the script of a `FakeProvider`.

    Attributes:
        text: Its text.
        tool_calls: Tool calls that it asks for; an empty `id` is filled in.
        refusal: Why the model refuses, sent in the form of each API; None: it does not.
        reasoning: Reasoning before the answer, sent in the API's own field.
        finish_reason: Default: derived from the rest. "length" and "content_filter" make an answer that was cut or
            filtered.
        cached: Number of input tokens from a cache.

    Examples:
        >>> FakeAnswer(refusal="I will not help with that.").ends
        'refusal'
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] | list[ToolCall] = ()
    refusal: str | None = None
    reasoning: str = ""
    finish_reason: FinishReason | None = None
    cached: int = 0

    @property
    def ends(self) -> FinishReason:
        """The reason why it ends."""
        if self.finish_reason is not None:
            return self.finish_reason
        if self.refusal is not None:
            return "refusal"
        return "tool_calls" if self.tool_calls else "stop"


Say: TypeAlias = Callable[[str], str | FakeAnswer]

# Answers that a script may name.
NAMED = {
    "refusal": FakeAnswer(refusal="I cannot help with that."),
    "filtered": FakeAnswer("This is how", finish_reason="content_filter"),
    "length": FakeAnswer("This is where it was cut", finish_reason="length"),
}
