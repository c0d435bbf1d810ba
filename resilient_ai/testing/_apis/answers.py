"""`FakeAnswer`: what a pretend provider says, before it is put into a wire format."""

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
    One answer that is more than a text; the `answer=` function of a `FakeProvider` may return it, a script may hold it.

    Attributes:
        text: What it says.
        tool_calls: Tools that it wants to be called; an empty `id` is filled in.
        refusal: Why the model will not answer; each API says so in its own way.
        reasoning: What it thinks before it answers, sent in the field that the API has for it.
        finish_reason: Default: what follows from the rest. "length" and "content_filter" make an answer that was cut
            or filtered.
        cached: How many of the input's tokens came from a cache.

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
        """Why it ends."""
        if self.finish_reason is not None:
            return self.finish_reason
        if self.refusal is not None:
            return "refusal"
        return "tool_calls" if self.tool_calls else "stop"


Say: TypeAlias = Callable[[str], str | FakeAnswer]

# What a script may name without making one.
NAMED = {
    "refusal": FakeAnswer(refusal="I cannot help with that."),
    "filtered": FakeAnswer("This is how", finish_reason="content_filter"),
    "length": FakeAnswer("This is where it was cut", finish_reason="length"),
}
