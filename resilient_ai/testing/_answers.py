"""What a healthy provider says, in the wire formats of OpenAI and Anthropic; the same answer for the same question."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from ._faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

JSON = dict[str, Any]


class Answer(NamedTuple):
    """A whole reply, or the frames of a stream: `items` one per piece of text, between `head` and `tail`."""

    body: JSON | None = None
    head: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()


def api_of(path: str, headers: dict[str, str]) -> str:
    """Whose manners a request expects."""
    return "anthropic" if "anthropic-version" in headers or path.startswith("/v1/messages") else "openai"


def answer(method: str, path: str, headers: dict[str, str], body: Any, say: Callable[[str], str]) -> Answer | Fault:
    """
    The reply to one request.

    Args:
        method: Of the request.
        path: Of the request, without its query.
        headers: Of the request, names in lower case.
        body: Of the request, parsed.
        say: From the last user message to the text of the answer.
    """
    api = api_of(path, headers)
    if method == "GET" and (found := re.fullmatch(r".*/models(?:/(.+))?", path)):
        return _models(api, found[1])
    if method != "POST":
        return Fault.reply(
            404, {"error": {"message": f"Invalid URL ({method} {path})", "type": "invalid_request_error"}}
        )
    if not isinstance(body, dict):
        return _refusal(api, "We could not parse the JSON body of your request.")
    if path.endswith("/embeddings"):
        return _embeddings(body)
    if path.endswith("/messages/count_tokens"):
        return Answer({"input_tokens": _tokens(_prompt(body))})
    if path.endswith("/messages"):
        return _message(body, say)
    if path.endswith("/chat/completions"):
        return _chat(body, say)
    if "prompt" in body:
        return _plain(body, say)
    return Fault.reply(404, {"error": {"message": f"Invalid URL (POST {path})", "type": "invalid_request_error"}})


def stream_error(api: str, body: Any) -> str:
    """An error as an event inside a stream."""
    text = body if isinstance(body, str) else json.dumps(body)
    return f"event: error\ndata: {text}\n\n" if api == "anthropic" else _data(text)


def embedding(text: str, dimensions: int) -> list[float]:
    """A unit vector of the words: texts that share words are near each other."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [""]:
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        number = int.from_bytes(digest, "big")
        vector[number % dimensions] += 1.0 if number >> 63 else -1.0
    length = math.sqrt(sum(each * each for each in vector))
    # Words may cancel each other out; a vector of length zero has no direction.
    return [each / length for each in vector] if length else [1.0, *vector[1:]]


def _chat(body: JSON, say: Callable[[str], str]) -> Answer | Fault:
    for field in ("model", "messages"):
        if not body.get(field):
            return _refusal("openai", f"Missing required parameter: '{field}'.")
    prompt = _prompt(body)
    text, whole = _limited(say(prompt), body.get("max_completion_tokens") or body.get("max_tokens"))
    finish = "stop" if whole else "length"
    usage = {"prompt_tokens": _tokens(prompt), "completion_tokens": _tokens(text)}
    usage["total_tokens"] = sum(usage.values())
    about = {"id": f"chatcmpl-{_id(prompt)}", "created": 1_790_000_000, "model": body["model"]}
    if not body.get("stream"):
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        return Answer({**about, "object": "chat.completion", "choices": [choice], "usage": usage})

    def chunk(delta: JSON, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _data(json.dumps({**about, "object": "chat.completion.chunk", "choices": [choice]}))

    tail = [chunk({}, finish)]
    if (body.get("stream_options") or {}).get("include_usage"):
        tail.append(_data(json.dumps({**about, "object": "chat.completion.chunk", "choices": [], "usage": usage})))
    return Answer(
        head=(chunk({"role": "assistant", "content": ""}),),
        items=tuple(chunk({"content": piece}) for piece in _pieces(text)),
        tail=(*tail, _data("[DONE]")),
    )


def _message(body: JSON, say: Callable[[str], str]) -> Answer | Fault:
    for field in ("model", "messages", "max_tokens"):
        if not body.get(field):
            return _refusal("anthropic", f"{field}: Field required")
    if any(each.get("role") not in ("user", "assistant") for each in body["messages"]):
        return _refusal("anthropic", 'messages: Unexpected role "system". Use the top-level system parameter.')
    prompt = _prompt(body)
    text, whole = _limited(say(prompt), body["max_tokens"])
    stop = "end_turn" if whole else "max_tokens"
    usage = {"input_tokens": _tokens(prompt), "output_tokens": _tokens(text)}
    about = {"id": f"msg_{_id(prompt)}", "type": "message", "role": "assistant", "model": body["model"]}
    if not body.get("stream"):
        content = [{"type": "text", "text": text}]
        return Answer({**about, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage})
    start = {**about, "content": [], "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    block = {"index": 0, "content_block": {"type": "text", "text": ""}}
    ending = {"delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": usage["output_tokens"]}}
    return Answer(
        head=(_event("message_start", message=start), _event("content_block_start", **block)),
        items=tuple(
            _event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
            for piece in _pieces(text)
        ),
        tail=(
            _event("content_block_stop", index=0),
            _event("message_delta", **ending),
            _event("message_stop"),
        ),
    )


def _plain(body: JSON, say: Callable[[str], str]) -> Answer:
    text, _ = _limited(
        say(_prompt({"messages": [{"role": "user", "content": body["prompt"]}]})), body.get("max_tokens")
    )
    if not body.get("stream"):
        return Answer({"content": text})
    pieces = tuple(_data(json.dumps({"content": piece})) for piece in _pieces(text))
    return Answer(items=pieces, tail=(_data("[DONE]"),))


def _embeddings(body: JSON) -> Answer | Fault:
    asked = body.get("input")
    texts = [asked] if isinstance(asked, str) else asked
    if not texts or not isinstance(texts, list) or not all(isinstance(each, str) and each for each in texts):
        return _refusal("openai", "'input' must be a non-empty string or a list of them.")
    vectors = [embedding(text, body.get("dimensions") or 64) for text in texts]
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            if body.get("encoding_format") == "base64"
            else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(map(_tokens, texts))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return Answer({"object": "list", "data": data, "model": body.get("model", ""), "usage": usage})


def _models(api: str, asked: str | None) -> Answer:
    def model(name: str) -> JSON:
        if api == "anthropic":
            return {"id": name, "type": "model", "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
        return {"id": name, "object": "model", "created": 1_790_000_000, "owned_by": "fake"}

    if asked:
        return Answer(model(asked))
    models = [model("claude-haiku-4-5" if api == "anthropic" else "gpt-4o-mini")]
    if api == "anthropic":
        return Answer({"data": models, "has_more": False, "first_id": models[0]["id"], "last_id": models[0]["id"]})
    return Answer({"object": "list", "data": models})


def _refusal(api: str, message: str) -> Fault:
    error: JSON = {"type": "invalid_request_error", "message": message}
    return Fault.reply(400, {"type": "error", "error": error} if api == "anthropic" else {"error": error})


def _prompt(body: JSON) -> str:
    """The text of the last user message."""
    content = next((each.get("content") for each in reversed(body.get("messages") or []) if each["role"] == "user"), "")
    return content if isinstance(content, str) else " ".join(_texts(content))


def _texts(parts: Iterable[JSON]) -> list[str]:
    return [part["text"] for part in parts if isinstance(part.get("text"), str)]


def _limited(text: str, most: int | None) -> tuple[str, bool]:
    """The text cut to so many tokens (words, here), and whether it is whole."""
    pieces = _pieces(text)
    return (text, True) if most is None or len(pieces) <= most else ("".join(pieces[:most]).rstrip(), False)


def _pieces(text: str) -> list[str]:
    """Words with the space before them; joined they are the text again."""
    return re.findall(r"\s*\S+|\s+", text)


def _tokens(text: str) -> int:
    return len(_pieces(text))


def _id(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _data(text: str) -> str:
    return f"data: {text}\n\n"


def _event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\n{_data(json.dumps({'type': kind, **fields}))}"
