"""
The evidence in an exception: status, headers, machine codes and messages, wherever its SDK puts them.

All reading is guarded and bounded: an SDK's properties may raise, a body may be huge, and every SDK has its own
structure.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from resilient_ai._core.fields import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SDK_ROOTS = _words(
    "openai anthropic google botocore aiobotocore boto3 mistralai cohere groq together fireworks litellm ollama"
    " httpx httpx2 httpcore httpcore2 aiohttp requests urllib3 urllib grpc huggingface_hub replicate ai21 voyageai"
    " openrouter cerebras xai_sdk zhipuai dashscope ibm_watsonx_ai langchain_core langchain_openai azure"
)
_TEXT_LIMIT = 1_500
_BODY_LIMIT = 50_000


@dataclass(slots=True)
class Evidence:
    """The evidence in one exception."""

    sdk: str  # root of the module that defines its class
    status: int | None = None  # as reported; see `Evidence.failed`
    headers: dict[str, str] = field(default_factory=dict)
    bodies: list[Any] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether the status is that of a failed request; for errors inside a stream it is 200, -1 or missing."""
        return self.status is not None and 400 <= self.status <= 599

    @property
    def text(self) -> str:
        """The messages in lower case."""
        return " \n".join(self.texts)[: 2 * _TEXT_LIMIT].lower()


def gather(error: BaseException) -> Evidence:
    """All evidence in `error` itself, without its causes."""
    found = Evidence(root_of(type(error)))
    response = read(error, "response")
    # aiohttp makes up a status of 400 for a reply that it cannot parse.
    unparsed = str(read(type(read(error, "__cause__")), "__module__")) == "aiohttp.http_exceptions"
    found.status = None if unparsed else _status(error, response)
    found.headers = _headers(error, response)
    found.bodies = list(_bodies(error, response))
    for body in found.bodies:
        walk(body, found)
        if not found.texts and not found.codes:
            found.texts.extend(_other_strings(body))
    for name in ("code", "type", "error_code", "reason"):
        if isinstance(value := read(error, name), str):
            _note_code(value, found)
    if found.sdk == "grpc" and callable(code := read(error, "code")):
        _note_code(str(read(_called(code), "name") or ""), found)
    if found.sdk in SDK_ROOTS:  # in SDKs, class names say what an error means
        names = [_name(cls) for cls in islice(type(error).__mro__, 3) if root_of(cls) == found.sdk]
        found.codes.extend(name for name in names if name != "APIError")  # the base class of all errors, not a 500
    if isinstance(kind := found.headers.get("x-amzn-errortype"), str):
        found.codes.append(kind.partition(":")[0])
    if not found.texts or not found.failed:
        text = text_of(error)
        found.texts.append(text)
        if not found.bodies:
            walk(embedded(text), found)
    return found


def gather_body(body: Any) -> Evidence:
    """The evidence in an error inside a returned value."""
    found = Evidence("", bodies=[body if isinstance(body, dict) else {"message": str(body)}])
    walk(found.bodies[0], found)
    return found


def text_of(error: BaseException) -> str:
    """The text of the exception, or "" if it cannot be read."""
    try:
        return _clipped(str(error))
    except Exception:  # noqa: BLE001 - an exception's __str__ may raise
        return ""


def root_of(cls: type) -> str:
    return str(read(cls, "__module__")).partition(".")[0]


def _name(cls: type) -> str:
    return str(read(cls, "__name__"))[:100]


def _clipped(text: str) -> str:
    # The message is at the beginning; some providers add advice at the end, after a long echo of the request.
    return text if len(text) <= _TEXT_LIMIT else text[: _TEXT_LIMIT - 400] + " " + text[-400:]


def _called(fn: Callable[[], Any]) -> Any:
    try:
        return fn()
    except Exception:  # noqa: BLE001 - as for attributes
        return None


def _status(error: BaseException, response: Any) -> int | None:
    metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None
    told: list[int] = []
    for value in (
        read(error, "status_code"),
        # Clients of one maker copy the body's code there, which inside a stream is not the status of this reply.
        None if root_of(type(error)) in ("openai", "groq", "together") else read(error, "code"),
        read(error, "status"),
        read(error, "http_status"),
        read(response, "status_code"),
        read(response, "status"),
        metadata.get("HTTPStatusCode") if isinstance(metadata, dict) else None,
    ):
        if isinstance(value, str) and len(value) == 3 and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and (value == -1 or 100 <= value <= 599):
            told.append(int(value))
    return next((status for status in told if status >= 400), told[0] if told else None)


def _headers(error: object, response: Any) -> dict[str, str]:
    metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None
    for source in (
        read(response, "headers"),
        read(error, "headers"),
        metadata.get("HTTPHeaders") if isinstance(metadata, dict) else None,
    ):
        if source and (headers := _as_headers(source)):
            return headers
    return {}


def headers_of(thing: Any) -> dict[str, str]:
    """Headers of the reply of an error, a result or a stream, with names in lower case; empty if there are none."""
    return _headers(thing, thing if isinstance(thing, dict) else read(thing, "response"))


def _as_headers(source: Any) -> dict[str, str]:
    try:
        pairs = islice(source.items(), 100)
        return {str(name).lower(): str(value)[:500] for name, value in pairs if isinstance(value, str | int | float)}
    except Exception:  # noqa: BLE001 - headers of an odd kind say nothing
        return {}


def _bodies(error: BaseException, response: Any) -> Iterator[Any]:
    args = read(error, "args")
    sources = [read(error, name) for name in ("body", "details", "raw_response", "error", "json_body")]
    sources.append(response if isinstance(response, dict) else read(response, "text"))
    sources.append(args[0] if isinstance(args, tuple) and args and isinstance(args[0], dict) else None)
    for source in sources:
        decoded = _decoded(source)
        if isinstance(decoded, dict | list):
            yield decoded


def _decoded(source: Any) -> Any:
    if isinstance(source, bytes | bytearray):
        source = bytes(source[:_BODY_LIMIT]).decode(errors="replace")
    if not isinstance(source, str):
        return source
    source = source[:_BODY_LIMIT].strip()
    if source[:1] in ("{", "["):
        try:
            return json.loads(source)
        except (ValueError, RecursionError):
            pass
    if source[:1] == "<":  # a page from a proxy: only its title is evidence
        source = " ".join(re.findall(r"<(?:title|h1)[^>]*>([^<]{1,200})", source[:5_000], re.IGNORECASE))
    return {"message": source} if source else None


def embedded(text: str) -> Any:
    """The object quoted in a message, such as `Error code: 429 - {'error': ...}`."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text[start : end + 1])
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None


_CODE_KEYS = _words(
    "code type status reason error_code errorcode error_type __type @type quotaid finish_reason finishreason"
    " stop_reason blockreason statuscode status_code limit_source errortype subcode"
)
_TEXT_KEYS = _words(
    "message error detail msg error_message errormessage error_msg description error_description title raw details"
    " quotaid"
)
# Parts of the request that a server echoes tell nothing about the reply.
_ECHOES = _words("input prompt messages request params ctx loc prompt_token_ids responsemetadata headers body url")
_SIGNS = frozenset({"flagged_input", "blockreason", "promptfeedback"})


def _other_strings(body: Any) -> Iterator[str]:
    """Iterate over the texts under unknown keys of a body, for example in another language."""
    if isinstance(body, dict):
        for key, value in islice(body.items(), 10):
            if isinstance(value, str) and " " in value and str(key)[:60].lower() not in _ECHOES:
                yield _clipped(value)


def _note_code(value: object, found: Evidence) -> None:
    code = str(value)[:200]
    if isinstance(value, str) and " " in code:  # xAI and others put a sentence into this field
        found.texts.append(code)
    else:
        found.codes.append(code.rpartition("#")[2])


def walk(thing: Any, found: Evidence, depth: int = 0) -> None:
    """Collect the codes and messages of a decoded body."""
    if depth > 8 or len(found.codes) + len(found.texts) > 100:
        return
    if isinstance(thing, list):
        for value in thing[:30]:
            walk(value, found, depth + 1)
        return
    if not isinstance(thing, dict):
        return
    for key, value in islice(thing.items(), 50):
        name = str(key)[:60].lower()
        if name in _SIGNS:
            found.codes.append(name)
        if name in _ECHOES:
            if name == "headers" and isinstance(value, dict):  # OpenRouter passes on the provider's headers
                found.headers = {**_as_headers(value), **found.headers}
                if isinstance(kind := found.headers.get(":exception-type"), str):  # a frame of an AWS event stream
                    found.codes.append(kind)
        elif isinstance(value, str | int) and not isinstance(value, bool) and name in _CODE_KEYS | _TEXT_KEYS:
            if name in _TEXT_KEYS and isinstance(value, str):
                found.texts.append(_clipped(value))
                if value[:1] == "{":  # the quoted reply of an upstream
                    walk(_decoded(value[:_BODY_LIMIT]), found, depth + 1)
            if name in _CODE_KEYS or (name == "error" and isinstance(value, str) and " " not in value):
                _note_code(value, found)
        else:
            if name in _TEXT_KEYS and isinstance(value, list):
                found.texts.extend(_clipped(each) for each in value[:10] if isinstance(each, str))
            if name.endswith("exception"):  # Bedrock's event stream: {"throttlingException": {...}}
                found.codes.append(str(key)[:100])
            walk(value, found, depth + 1)
