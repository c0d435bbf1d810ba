"""OpenAI's Responses."""

from __future__ import annotations

import json
from itertools import count as numbers
from typing import Any

from .answers import FakeAnswer
from .chat import CREATED, strict_fault
from .question import JSON, Answer, Counts, Question, digest, event, last, pieces, text_of


def wrong(body: JSON) -> str | None:
    """Why the API would refuse this request; None if it would not."""
    for field in ("model", "input"):
        if not body.get(field):
            return f"Missing required parameter: '{field}'."
    waiting: set[str] = set()
    for number, each in enumerate(_items(body)):
        kind = each.get("type", "message")
        if kind == "message" and each.get("role") not in ("user", "assistant", "system", "developer"):
            return f"Invalid value: 'input[{number}].role'."
        if kind == "function_call":
            waiting.add(each["call_id"])
        elif kind == "function_call_output":
            if each["call_id"] not in waiting:
                return f"No tool call found for function call output with call_id {each['call_id']}."
            waiting.discard(each["call_id"])
    if waiting:
        return f"No tool output found for function call {min(waiting)}."
    form = (body.get("text") or {}).get("format") or {}
    return strict_fault(form.get("schema"), "response_format") if form.get("strict") else None


def question(body: JSON) -> Question:
    items = _items(body)
    asked = last(items, lambda each: each.get("role") == "user")
    results: list[str] = []
    for each in reversed(items):
        if each.get("type") != "function_call_output":
            break
        results.insert(0, text_of(each.get("output")))
    choice = body.get("tool_choice") or "auto"
    form = (body.get("text") or {}).get("format") or {}
    return Question(
        text_of(asked.get("content")),
        tools={each["name"]: each.get("parameters") for each in body.get("tools") or () if each["type"] == "function"},
        choice=choice if isinstance(choice, str) else choice.get("name", "required"),
        results=tuple(results),
        schema=form.get("schema") if form.get("type") == "json_schema" else None,
        most=body.get("max_output_tokens"),
        stream=bool(body.get("stream")),
    )


def _items(body: JSON) -> list[JSON]:
    given = body["input"]
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


def speak(body: JSON, asked: Question, answer: FakeAnswer, count: Counts) -> Answer:
    about = _about(body, asked)
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(answer.ends)
    done: JSON = {
        **about,
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": _output(asked, answer, "incomplete" if reason else "completed"),
        "usage": {
            "input_tokens": count.into,
            "input_tokens_details": {"cached_tokens": count.cached, "cache_write_tokens": 0},
            "output_tokens": count.out,
            "output_tokens_details": {"reasoning_tokens": count.reasoning},
            "total_tokens": count.into + count.out,
        },
    }
    if not asked.stream:
        return Answer(done)
    number = numbers()

    def told(kind: str, **fields: Any) -> str:
        return event(kind, **fields, sequence_number=next(number))

    begun = {**about, "status": "in_progress", "output": [], "usage": None}
    head = told("response.created", response=begun), told("response.in_progress", response=begun)
    items: list[str] = []
    for index, item in enumerate(done["output"]):
        items += _frames(item, index, told)
    ending = told("response.incomplete" if reason else "response.completed", response=done)
    return Answer(head=head, items=tuple(items), tail=(ending,))


def _about(body: JSON, asked: Question) -> JSON:
    return {
        "id": f"resp_{digest(asked.text)}",
        "object": "response",
        "created_at": CREATED,
        "model": body["model"],
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": body.get("temperature", 1.0),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_p": body.get("top_p", 1.0),
    }


def _output(asked: Question, answer: FakeAnswer, status: str) -> list[JSON]:
    output: list[JSON] = []
    mark = digest(asked.text)
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": answer.reasoning}]
        output.append({"id": f"rs_{mark}", "type": "reasoning", "summary": summary})
    content: list[JSON] = []
    if answer.refusal is not None:
        content.append({"type": "refusal", "refusal": answer.refusal})
    elif answer.text or not answer.tool_calls:
        content.append({"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []})
    if content:
        output.append(
            {"id": f"msg_{mark}", "type": "message", "role": "assistant", "status": status, "content": content}
        )
    output += [
        {
            "id": f"fc_{each.id}",
            "type": "function_call",
            "call_id": each.id,
            "name": each.name,
            "arguments": json.dumps(each.arguments),
            "status": "completed",
        }
        for each in answer.tool_calls
    ]
    return output


def _frames(item: JSON, index: int, told: Any) -> list[str]:
    """The events of one output item; opening events come with its first piece, closing events with the last."""
    inner: JSON
    at = {"item_id": item["id"], "output_index": index}
    if item["type"] == "function_call":
        empty = {**item, "arguments": "", "status": "in_progress"}
        text, kind, inner = item["arguments"], "response.function_call_arguments", {}
        ends = {"arguments": text, "name": item["name"]}
    elif item["type"] == "reasoning":
        empty = {**item, "summary": []}
        text, kind, inner = item["summary"][0]["text"], "response.reasoning_summary_text", {"summary_index": 0}
        ends = {"text": text}
    else:
        part = item["content"][0]
        refused = part["type"] == "refusal"
        text = part["refusal" if refused else "text"]
        kind = "response.refusal" if refused else "response.output_text"
        inner = {"content_index": 0} if refused else {"content_index": 0, "logprobs": []}
        ends = {"refusal": text} if refused else {"text": text}
        empty = {**item, "status": "in_progress", "content": []}
    frames = [told("response.output_item.added", output_index=index, item=empty)]
    if item["type"] == "message":
        bare = {**item["content"][0], ("refusal" if "refusal" in item["content"][0] else "text"): ""}
        frames[0] += told("response.content_part.added", **at, content_index=0, part=bare)
    for number, piece in enumerate(pieces(text) or [""]):
        said = told(f"{kind}.delta", **at, **inner, delta=piece)
        if number:
            frames.append(said)
        else:
            frames[0] += said
    frames[-1] += told(f"{kind}.done", **at, **inner, **ends)
    if item["type"] == "message":
        frames[-1] += told("response.content_part.done", **at, content_index=0, part=item["content"][0])
    frames[-1] += told("response.output_item.done", output_index=index, item=item)
    return frames


def stream_error(body: Any, number: int) -> str:
    """The end of a response that fails midway: it contains the error, and the stream's status is 200."""
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    code = error.get("code") or error.get("type") or "server_error"
    failed = {
        "id": "resp_failed",
        "object": "response",
        "created_at": CREATED,
        "status": "failed",
        "error": {"code": code, "message": error.get("message") or "An error occurred while processing your request."},
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }
    return event("response.failed", response=failed, sequence_number=number)
