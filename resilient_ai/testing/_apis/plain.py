"""A simple custom HTTP API: `{"prompt": …}` in, `{"content": …}` out."""

from __future__ import annotations

import json

from .answers import FakeAnswer
from .chat import question as chat_question
from .question import JSON, Answer, Counts, Question, data, pieces, text_of


def question(body: JSON) -> Question:
    if "messages" in body:
        asked = chat_question(body)
        return Question(
            asked.text, asked.tools, asked.choice, asked.results, body.get("schema"), asked.most, asked.stream
        )
    tools = {each["function"]["name"]: each["function"].get("parameters") for each in body.get("tools") or ()}
    return Question(
        text_of(body["prompt"]),
        tools,
        schema=body.get("schema"),
        most=body.get("max_tokens"),
        stream=bool(body.get("stream")),
    )


def speak(_body: JSON, asked: Question, answer: FakeAnswer, _count: Counts) -> Answer:
    facts: JSON = {"content": answer.text}
    if answer.refusal is not None:
        facts["refusal"] = answer.refusal
    if answer.tool_calls:
        facts["tool_calls"] = [
            {
                "id": each.id,
                "type": "function",
                "function": {"name": each.name, "arguments": json.dumps(each.arguments)},
            }
            for each in answer.tool_calls
        ]
    if answer.ends != "stop":
        facts["finish_reason"] = answer.ends
    if not asked.stream:
        return Answer(facts)
    del facts["content"]
    told = (data(facts),) if facts else ()
    return Answer(items=tuple(data({"content": piece}) for piece in pieces(answer.text)), tail=(*told, data("[DONE]")))
