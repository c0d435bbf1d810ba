"""Anthropic's messages."""

from __future__ import annotations

import json
from typing import Any

from .answers import FakeAnswer
from .question import JSON, Answer, Counts, Question, data, digest, event, last, pieces, text_of, tokens


def wrong(body: JSON) -> str | None:
    """Why the API would refuse this request; None if it would not."""
    for field in ("model", "messages", "max_tokens"):
        if not body.get(field):
            return f"{field}: Field required"
    waiting: set[str] = set()
    for number, each in enumerate(body["messages"]):
        if each.get("role") not in ("user", "assistant"):
            return 'messages: Unexpected role "system". Use the top-level system parameter.'
        blocks = [block for block in each.get("content") or () if isinstance(block, dict)]
        given = {block["tool_use_id"] for block in blocks if block.get("type") == "tool_result"}
        if missing := waiting - given:
            what = "`tool_use` ids were found without `tool_result` blocks immediately after"
            return f"messages.{number}: {what}: {min(missing)}."
        if unexpected := given - waiting:
            return f"messages.{number}: unexpected `tool_use_id` found in `tool_result` blocks: {min(unexpected)}."
        waiting = {block["id"] for block in blocks if block.get("type") == "tool_use"}
    return None


def question(body: JSON) -> Question:
    messages = body["messages"]
    asked = last(messages, lambda each: each["role"] == "user" and bool(text_of(each["content"])))
    blocks = messages[-1]["content"]
    choice = body.get("tool_choice") or {"type": "auto"}
    choice = {"any": "required", "tool": choice.get("name")}.get(choice["type"], choice["type"])
    form = (body.get("output_config") or {}).get("format") or {}
    return Question(
        text_of(asked.get("content")),
        tools={each["name"]: each["input_schema"] for each in body.get("tools") or () if "input_schema" in each},
        choice=str(choice),
        results=tuple(
            text_of(each.get("content"))
            for each in blocks
            if isinstance(each, dict) and each.get("type") == "tool_result"
        ),
        schema=form.get("schema"),
        most=body["max_tokens"],
        stream=bool(body.get("stream")),
    )


_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def speak(body: JSON, asked: Question, answer: FakeAnswer, count: Counts) -> Answer:
    stop = _STOPS.get(answer.ends, answer.ends)
    details = None
    if answer.refusal is not None:
        details = {"type": "refusal", "category": None, "explanation": answer.refusal}
    usage = {
        "input_tokens": count.into - count.cached,
        "cache_read_input_tokens": count.cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": count.out,
        "output_tokens_details": {"thinking_tokens": count.reasoning},
    }
    about = {"id": f"msg_{digest(asked.text)}", "type": "message", "role": "assistant", "model": body["model"]}
    blocks = _blocks(answer)
    if not asked.stream:
        ends = {"stop_reason": stop, "stop_sequence": None, "stop_details": details}
        return Answer({**about, "content": blocks, **ends, "usage": usage})
    start = {**about, "content": [], "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    head = [event("message_start", message=start)]
    items: list[str] = []
    waiting = ""
    for index, block in enumerate(blocks):
        opened = event("content_block_start", index=index, content_block=_empty(block))
        if index:
            waiting += opened
        else:
            head.append(opened)
        for delta in _deltas(block):
            items.append(waiting + event("content_block_delta", index=index, delta=delta))
            waiting = ""
        waiting += event("content_block_stop", index=index)
    ending = {"stop_reason": stop, "stop_sequence": None, "stop_details": details}
    tail = [waiting] if waiting else []
    tail += [event("message_delta", delta=ending, usage=usage), event("message_stop")]
    return Answer(head=tuple(head), items=tuple(items), tail=tuple(tail))


def _blocks(answer: FakeAnswer) -> list[JSON]:
    blocks: list[JSON] = []
    if answer.reasoning:
        blocks.append({"type": "thinking", "thinking": answer.reasoning, "signature": "c2lnbmVk"})
    if answer.text or not (answer.tool_calls or answer.refusal is not None):
        blocks.append({"type": "text", "text": answer.text, "citations": None})
    return blocks + [
        {"type": "tool_use", "id": each.id, "name": each.name, "input": each.arguments} for each in answer.tool_calls
    ]


def _empty(block: JSON) -> JSON:
    blank = {"text": "", "thinking": "", "signature": "", "input": {}}
    return {key: blank.get(key, value) for key, value in block.items()}


def _deltas(block: JSON) -> list[JSON]:
    if block["type"] == "text":
        return [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
    if block["type"] == "thinking":
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
        return [*thoughts, {"type": "signature_delta", "signature": block["signature"]}]
    return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces(json.dumps(block["input"]))]


def stream_error(body: Any) -> str:
    """An error as a stream event."""
    return f"event: error\n{data(body)}"


def count_tokens(body: JSON) -> Answer:
    asked = last(body.get("messages") or (), lambda each: each["role"] == "user")
    return Answer({"input_tokens": tokens(text_of(asked.get("content")))})


def model(name: str) -> JSON:
    return {"id": name, "type": "model", "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
