"""A request independent of its API (question, tools, schema, tool results), and the answer to it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from resilient_ai._usage.reply import ToolCall

from .answers import FakeAnswer, Say
from .schemas import example

JSON = dict[str, Any]


class Answer(NamedTuple):
    """A whole reply, or the frames of a stream: `head`, `items` (one per piece of the answer) and `tail`."""

    body: JSON | None = None
    head: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """
    One request, independent of the wire format.

    Attributes:
        text: The last message of the user.
        tools: Schema of the arguments, by tool name.
        choice: "auto", "none", "required", or the name of the tool that must be called.
        results: Results of the latest tool calls.
        schema: Required form of the answer; None without one.
        most: Most tokens of the answer; None: no bound.
        stream: Whether the answer is streamed.
    """

    text: str
    tools: dict[str, Any] = field(default_factory=dict)
    choice: str = "auto"
    results: tuple[str, ...] = ()
    schema: Any = None
    most: int | None = None
    stream: bool = False


class ByTheBook:
    """Answers `"[name] question"`, and uses the tools and the schema of a request."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, text: str) -> str:
        return f"[{self._name}] {text}"


def said_to(question: Question, say: Say, scripted: FakeAnswer | None) -> FakeAnswer:
    """The answer: the scripted one, that of `say`, or one that uses the tools and the schema of the request."""
    answer = scripted if scripted is not None else say(question.text)
    if isinstance(answer, str):
        answer = FakeAnswer(answer)
        if isinstance(say, ByTheBook):
            answer = _by_the_book(question, answer)
    calls = [each if each.id else replace(each, id=_call_id(question, n)) for n, each in enumerate(answer.tool_calls)]
    text, whole = limited(answer.text, question.most)
    answer = replace(answer, text=text, tool_calls=tuple(calls))
    return answer if whole or answer.finish_reason is not None else replace(answer, finish_reason="length")


def _by_the_book(question: Question, answer: FakeAnswer) -> FakeAnswer:
    if question.tools and question.choice != "none" and not question.results:
        name = question.choice if question.choice in question.tools else next(iter(question.tools))
        arguments = example(question.tools[name] or {"type": "object"}, question.text)
        return FakeAnswer(tool_calls=[ToolCall("", name, arguments)])
    text = ": ".join((answer.text, ", ".join(question.results))) if question.results else answer.text
    if question.schema is not None:
        text = json.dumps(example(question.schema, text))
    return replace(answer, text=text)


def _call_id(question: Question, number: int) -> str:
    return f"call_{digest(question.text)}{number}"


class Counts(NamedTuple):
    """Tokens of one exchange, which are words here."""

    into: int
    out: int
    cached: int
    reasoning: int


def counts(question: Question, answer: FakeAnswer) -> Counts:
    reasoning = tokens(answer.reasoning)
    calls = sum(tokens(json.dumps(each.arguments)) for each in answer.tool_calls)
    out = tokens(answer.text) + tokens(answer.refusal or "") + reasoning + calls
    return Counts(tokens(question.text), out, answer.cached, reasoning)


def text_of(content: Any) -> str:
    """The text of a message's content, a string or a list of parts."""
    return content if isinstance(content, str) else " ".join(_texts(content or ()))


def _texts(parts: Iterable[Any]) -> list[str]:
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def last(items: Iterable[JSON], fits: Callable[[JSON], bool]) -> JSON:
    """The last item that fits; an empty dict without any."""
    return next((each for each in reversed(list(items)) if fits(each)), {})


def limited(text: str, most: int | None) -> tuple[str, bool]:
    """The text, cut to so many tokens, and whether it is complete."""
    found = pieces(text)
    return (text, True) if most is None or len(found) <= most else ("".join(found[:most]).rstrip(), False)


def pieces(text: str) -> list[str]:
    """Split a text into words with the space before them; joined they give the text again."""
    return re.findall(r"\s*\S+|\s+", text)


def tokens(text: str) -> int:
    return len(pieces(text))


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def data(body: Any) -> str:
    """A server-sent event without a name."""
    return f"data: {body if isinstance(body, str) else json.dumps(body)}\n\n"


def event(kind: str, **fields: Any) -> str:
    """A server-sent event with its name, which its data contains too."""
    return f"event: {kind}\n{data({'type': kind, **fields})}"
