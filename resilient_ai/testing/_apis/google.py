"""Google's `generateContent`, its stream, and embeddings."""

from __future__ import annotations

import re
from typing import Any

from .answers import FakeAnswer
from .chat import embedding
from .question import JSON, Answer, Counts, Question, data, digest, last, pieces, tokens

_PATH = re.compile(r".*/models/(?P<model>[^/:]+):(?P<method>\w+)")


def method_of(path: str) -> tuple[str, str] | None:
    """Model and method in a request's path; None if the path is not of this API."""
    found = _PATH.fullmatch(path)
    return (found["model"], found["method"]) if found else None


def wrong(body: JSON) -> str | None:
    """Why the API would refuse this request; None if it would not."""
    contents = body.get("contents")
    if not contents:
        return "* GenerateContentRequest.contents: contents is not specified"
    called = 0
    for each in contents:
        if each.get("role", "user") not in ("user", "model"):
            return "Please use a valid role: user, model."
        parts = each.get("parts") or []
        if not parts:
            return "Unable to submit request because it must have at least one parts field."
        given = sum("functionResponse" in part for part in parts)
        if given != called and (given or called):
            return "The number of function response parts must be equal to the number of function call parts."
        called = sum("functionCall" in part for part in parts)
    return None


def question(body: JSON, *, stream: bool) -> Question:
    contents, config = body["contents"], body.get("generationConfig") or {}
    asked = last(contents, lambda each: each.get("role", "user") == "user" and bool(_texts(each)))
    functions = [
        function for tool in body.get("tools") or () for function in _field(tool, "functionDeclarations") or ()
    ]
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    named = calling.get("allowedFunctionNames") or [None]
    mode = {"ANY": named[0] or "required", "NONE": "none"}.get(calling.get("mode", "AUTO"), "auto")
    results = (part["functionResponse"] for part in contents[-1].get("parts") or () if "functionResponse" in part)
    return Question(
        " ".join(_texts(asked)),
        tools={each["name"]: _field(each, "parametersJsonSchema", "parameters") for each in functions},
        choice=mode,
        results=tuple(", ".join(map(str, each["response"].values())) for each in results),
        schema=_field(config, "responseJsonSchema", "responseSchema"),
        most=config.get("maxOutputTokens"),
        stream=stream,
    )


def _field(holder: JSON, *names: str) -> Any:
    """The first of these fields that exists; the API accepts names in snake case too."""
    for name in names:
        for each in (name, re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)):
            if holder.get(each):
                return holder[each]
    return None


def _texts(content: JSON) -> list[str]:
    return [part["text"] for part in content.get("parts") or () if isinstance(part.get("text"), str)]


_ENDS = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}


def speak(model: str, asked: Question, answer: FakeAnswer, count: Counts) -> Answer:
    about: JSON = {"modelVersion": model, "responseId": digest(asked.text)}
    usage: JSON = {
        "promptTokenCount": count.into,
        "candidatesTokenCount": count.out - count.reasoning,
        "totalTokenCount": count.into + count.out,
    }
    if count.cached:
        usage["cachedContentTokenCount"] = count.cached
    if count.reasoning:
        usage["thoughtsTokenCount"] = count.reasoning
    if answer.refusal is not None:  # the prompt is blocked: there is no candidate, and no text of the model
        blocked = {**about, "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": usage}
        return Answer(blocked) if not asked.stream else Answer(items=(data(blocked),))
    calls: list[JSON] = [
        {"functionCall": {"name": each.name, "args": each.arguments}, "thoughtSignature": "c2lnbmVk"}
        for each in answer.tool_calls
    ]
    end = _ENDS[answer.ends]
    if not asked.stream:
        parts: list[JSON] = [{"text": answer.reasoning, "thought": True}] if answer.reasoning else []
        parts += [{"text": answer.text}] if answer.text else []
        return Answer({"candidates": [_candidate([*parts, *calls], end)], **about, "usageMetadata": usage})
    found = [{"text": piece, "thought": True} for piece in pieces(answer.reasoning)]
    found += [{"text": piece} for piece in pieces(answer.text)]
    chunks = [data({"candidates": [_candidate([part])], **about}) for part in (*found, *calls)]
    ending = data({"candidates": [_candidate([{"text": ""}], end)], **about, "usageMetadata": usage})
    return Answer(items=tuple(chunks), tail=(ending,))


def _candidate(parts: list[JSON], end: str | None = None) -> JSON:
    candidate: JSON = {"content": {"role": "model", "parts": parts}, "index": 0}
    return candidate if end is None else {**candidate, "finishReason": end}


def stream_error(body: Any) -> str:
    """An error as a stream event."""
    return data(body)


def embeddings(body: JSON) -> Answer:
    """The vectors of `embedContent` and `batchEmbedContents`."""
    requests = body.get("requests", [body])
    vectors = [
        {"values": embedding(" ".join(_texts(each["content"])), each.get("outputDimensionality") or 64)}
        for each in requests
    ]
    return Answer({"embeddings": vectors} if "requests" in body else {"embedding": vectors[0]})


def count_tokens(body: JSON) -> Answer:
    return Answer({"totalTokens": sum(tokens(text) for each in body.get("contents") or () for text in _texts(each))})


def model(name: str) -> JSON:
    return {
        "name": f"models/{name}",
        "displayName": name,
        "inputTokenLimit": 1_000_000,
        "supportedGenerationMethods": ["generateContent"],
    }
