"""Find the API of a request, and make its answer or its refusal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from resilient_ai.testing._faults import Fault

from . import anthropic, chat, google, plain, responses
from .question import Answer, counts, said_to

if TYPE_CHECKING:
    from .answers import FakeAnswer, Say
    from .question import JSON, Counts, Question


class _Speech(Protocol):
    """The module of one API."""

    def wrong(self, body: JSON, /) -> str | None: ...
    def question(self, body: JSON, /) -> Question: ...
    def speak(self, body: JSON, asked: Question, answer: FakeAnswer, count: Counts, /) -> Answer: ...


_SPEECHES: tuple[tuple[str, _Speech], ...] = (
    ("/chat/completions", chat),
    ("/responses", responses),
    ("/messages", anthropic),
)
_MODELS = re.compile(r".*/models(?:/(.+))?")


def api_of(path: str, headers: dict[str, str]) -> str:
    """The API of a request."""
    if "anthropic-version" in headers or path.endswith(("/messages", "/messages/count_tokens")):
        return "anthropic"
    if "x-goog-api-key" in headers or path.startswith("/v1beta") or google.method_of(path) is not None:
        return "google"
    return "openai"


def answer(
    method: str, path: str, headers: dict[str, str], body: Any, say: Say, scripted: FakeAnswer | None = None
) -> Answer | Fault:
    """
    The reply to one request.

    Args:
        method: Method of the request.
        path: Path of the request, without its query.
        headers: Headers of the request, names in lower case.
        body: Body of the request, parsed.
        say: Makes the answer from the last user message.
        scripted: The answer in place of that; None: `say` decides.
    """
    api = api_of(path, headers)
    if method == "GET" and (found := _MODELS.fullmatch(path)):
        return _models(api, found[1])
    if method != "POST":
        return _nowhere(api, method, path)
    if not isinstance(body, dict):
        return _refusal(api, "We could not parse the JSON body of your request.")
    if api == "google":
        return _google(path, body, say, scripted)
    if path.endswith("/messages/count_tokens"):
        return anthropic.count_tokens(body)
    if path.endswith("/embeddings"):
        no_text = _refusal(api, "'input' must be a non-empty string or a list of them.")
        return chat.embeddings(body) or no_text
    for ending, speech in _SPEECHES:
        if path.endswith(ending):
            if (fault := speech.wrong(body)) is not None:
                return _refusal(api, fault)
            asked = speech.question(body)
            said = said_to(asked, say, scripted)
            return speech.speak(body, asked, said, counts(asked, said))
    if "prompt" in body:
        asked = plain.question(body)
        said = said_to(asked, say, scripted)
        return plain.speak(body, asked, said, counts(asked, said))
    return _nowhere(api, method, path)


def streams(path: str, body: Any) -> bool:
    """Whether a request asks for a stream."""
    return path.endswith(":streamGenerateContent") or (isinstance(body, dict) and bool(body.get("stream")))


def stream_error(path: str, headers: dict[str, str], body: Any, number: int) -> str:
    """An error as a stream event, after `number` others."""
    if path.endswith("/responses"):
        return responses.stream_error(body, number)
    speech = {"anthropic": anthropic, "google": google}.get(api_of(path, headers), chat)
    return str(speech.stream_error(body))


def questions(path: str, body: Any) -> list[str]:
    """The last user message, or the texts to embed, of one request."""
    if not isinstance(body, dict):
        return []
    try:
        return _questions(path, body)
    except (AttributeError, KeyError, TypeError):  # a malformed body
        return []


def _questions(path: str, body: JSON) -> list[str]:
    if path.endswith("/embeddings"):
        return [body["input"]] if isinstance(body["input"], str) else list(body["input"])
    if path.endswith("EmbedContents"):
        return [part["text"] for each in body["requests"] for part in each["content"]["parts"]]
    if "contents" in body:
        asked = google.question(body, stream=False)
    elif path.endswith("/responses"):
        asked = responses.question(body)
    elif "prompt" in body:
        asked = plain.question(body)
    else:
        asked = (anthropic if path.endswith("/messages") else chat).question({"max_tokens": None, **body})
    return [asked.text] if asked.text else []


def _google(path: str, body: JSON, say: Say, scripted: FakeAnswer | None) -> Answer | Fault:
    found = google.method_of(path)
    model, method = found if found is not None else ("", "")
    if method in ("embedContent", "batchEmbedContents"):
        return google.embeddings(body)
    if method == "countTokens":
        return google.count_tokens(body)
    if method not in ("generateContent", "streamGenerateContent"):
        return _nowhere("google", "POST", path)
    if (fault := google.wrong(body)) is not None:
        return _refusal("google", fault)
    asked = google.question(body, stream=method == "streamGenerateContent")
    said = said_to(asked, say, scripted)
    return google.speak(model, asked, said, counts(asked, said))


def _models(api: str, asked: str | None) -> Answer:
    model = {"anthropic": anthropic.model, "google": google.model}.get(api, chat.model)
    if asked:
        return Answer(model(asked))
    if api == "google":
        return Answer({"models": [model("gemini-3-flash")]})
    if api == "anthropic":
        name = "claude-haiku-4-5"
        return Answer({"data": [model(name)], "has_more": False, "first_id": name, "last_id": name})
    return Answer({"object": "list", "data": [model("gpt-4o-mini")]})


def _nowhere(api: str, method: str, path: str) -> Fault:
    if api == "google":
        return Fault.reply(
            404, {"error": {"code": 404, "message": "Requested entity was not found.", "status": "NOT_FOUND"}}
        )
    return Fault.reply(404, {"error": {"message": f"Invalid URL ({method} {path})", "type": "invalid_request_error"}})


def _refusal(api: str, message: str) -> Fault:
    if api == "google":
        return Fault.reply(400, {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}})
    error: JSON = {"type": "invalid_request_error", "message": message}
    return Fault.reply(400, {"type": "error", "error": error} if api == "anthropic" else {"error": error})
