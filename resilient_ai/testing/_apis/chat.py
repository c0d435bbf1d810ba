"""OpenAI's chat completions, embeddings and models."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import struct
from typing import Any

from .answers import FakeAnswer
from .question import JSON, Answer, Counts, Question, data, digest, last, pieces, text_of, tokens

CREATED = 1_790_000_000
_MESSAGE = {
    "role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio", "function_call", "annotations",
}  # fmt: skip


def wrong(body: JSON) -> str | None:
    """Why the API would refuse this request; None if it would not."""
    for field in ("model", "messages"):
        if not body.get(field):
            return f"Missing required parameter: '{field}'."
    waiting: set[str] = set()
    for number, each in enumerate(body["messages"]):
        if unknown := each.keys() - _MESSAGE:
            return f"Unknown parameter: 'messages[{number}].{min(unknown)}'."
        if each["role"] == "tool":
            if each.get("tool_call_id") not in waiting:
                return "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
            waiting.discard(each["tool_call_id"])
        elif waiting:
            return "An assistant message with 'tool_calls' must be followed by tool messages for each 'tool_call_id'."
        waiting |= {call["id"] for call in each.get("tool_calls") or ()}
    schema = ((body.get("response_format") or {}).get("json_schema")) or {}
    return strict_fault(schema.get("schema"), "response_format") if schema.get("strict") else None


def strict_fault(schema: Any, where: str) -> str | None:
    """Why a schema is not legal in strict mode; None if it is."""
    if not isinstance(schema, dict):
        return None
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties") is not False:
            return f"Invalid schema for {where}: 'additionalProperties' is required to be supplied and to be false."
        if set(schema.get("required") or ()) != set(schema.get("properties") or ()):
            return f"Invalid schema for {where}: 'required' is required to include every key in properties."
    inner = [*(schema.get("properties") or {}).values(), *(schema.get("$defs") or {}).values(), schema.get("items")]
    inner += schema.get("anyOf") or []
    return next((fault for each in inner if (fault := strict_fault(each, where)) is not None), None)


def question(body: JSON) -> Question:
    messages = body["messages"]
    asked = last(messages, lambda each: each["role"] == "user")
    results: list[str] = []
    for each in reversed(messages):
        if each["role"] != "tool":
            break
        results.insert(0, text_of(each.get("content")))
    choice = body.get("tool_choice") or "auto"
    form = body.get("response_format") or {}
    return Question(
        text_of(asked.get("content")),
        tools={each["function"]["name"]: each["function"].get("parameters") for each in body.get("tools") or ()},
        choice=choice if isinstance(choice, str) else choice["function"]["name"],
        results=tuple(results),
        schema=(form.get("json_schema") or {}).get("schema") if form.get("type") == "json_schema" else None,
        most=body.get("max_completion_tokens") or body.get("max_tokens"),
        stream=bool(body.get("stream")),
    )


def speak(body: JSON, asked: Question, answer: FakeAnswer, count: Counts) -> Answer:
    finish = {"refusal": "stop"}.get(answer.ends, answer.ends)
    usage = {
        "prompt_tokens": count.into,
        "completion_tokens": count.out,
        "total_tokens": count.into + count.out,
        "prompt_tokens_details": {"cached_tokens": count.cached},
        "completion_tokens_details": {"reasoning_tokens": count.reasoning},
    }
    about = {"id": f"chatcmpl-{digest(asked.text)}", "created": CREATED, "model": body["model"]}
    if not asked.stream:
        choice = {"index": 0, "message": _message(answer), "finish_reason": finish, "logprobs": None}
        return Answer({**about, "object": "chat.completion", "choices": [choice], "usage": usage})

    def chunk(delta: JSON, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return data({**about, "object": "chat.completion.chunk", "choices": [choice]})

    tail = [chunk({}, finish)]
    if (body.get("stream_options") or {}).get("include_usage"):
        tail.append(data({**about, "object": "chat.completion.chunk", "choices": [], "usage": usage}))
    return Answer(
        head=(chunk({"role": "assistant", "content": "", "refusal": None}),),
        items=tuple(map(chunk, _deltas(answer))),
        tail=(*tail, data("[DONE]")),
    )


def _calls(answer: FakeAnswer) -> list[JSON]:
    return [
        {"id": each.id, "type": "function", "function": {"name": each.name, "arguments": json.dumps(each.arguments)}}
        for each in answer.tool_calls
    ]


def _message(answer: FakeAnswer) -> JSON:
    calls = _calls(answer)
    silent = answer.refusal is not None or (calls and not answer.text)
    message: JSON = {"role": "assistant", "content": None if silent else answer.text, "refusal": answer.refusal}
    if calls:
        message["tool_calls"] = calls
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    return message


def _deltas(answer: FakeAnswer) -> list[JSON]:
    deltas: list[JSON] = [{"reasoning_content": piece} for piece in pieces(answer.reasoning)]
    deltas += [{"refusal": piece} for piece in pieces(answer.refusal or "")]
    deltas += [{"content": piece} for piece in pieces(answer.text)]
    for index, call in enumerate(_calls(answer)):
        function = call["function"]
        deltas.append({"tool_calls": [{"index": index, **call, "function": {**function, "arguments": ""}}]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in pieces(function["arguments"])
        ]
    return deltas


def stream_error(body: Any) -> str:
    """An error as a stream event."""
    return data(body)


# -- embeddings


def embedding(text: str, dimensions: int) -> list[float]:
    """A unit vector of the words: texts with common words are similar."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [""]:
        number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
        vector[number % dimensions] += 1.0 if number >> 63 else -1.0
    length = math.sqrt(sum(each * each for each in vector))
    # Words may cancel each other out; a vector of length zero has no direction.
    return [each / length for each in vector] if length else [1.0, *vector[1:]]


def embeddings(body: JSON) -> Answer | None:
    """The vectors; None if there is no text to embed."""
    asked = body.get("input")
    texts = [asked] if isinstance(asked, str) else asked
    if not texts or not isinstance(texts, list) or not all(isinstance(each, str) and each for each in texts):
        return None
    vectors = [embedding(text, body.get("dimensions") or 64) for text in texts]
    packed = body.get("encoding_format") == "base64"
    found = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector}
        for index, vector in enumerate(vectors)
    ]
    count = sum(map(tokens, texts))
    usage = {"prompt_tokens": count, "total_tokens": count}
    return Answer({"object": "list", "data": found, "model": body.get("model", ""), "usage": usage})


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def model(name: str) -> JSON:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "fake"}
