"""OpenAI's chat completions: requests, replies and stream events."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from resilient_ai._usage.readers import usage_of

from ._endpoint import Asked, parameters_of
from ._errors import EndpointReplyError
from ._heard import Heard, HeardCall, plain
from ._messages import JSON, Media, Own, Part, Turn
from ._mismatch import SHARED

if TYPE_CHECKING:
    from ._endpoint import ProviderEndpoint


class ChatAPI:
    """
    Chat completions, at OpenAI and compatible servers.

    Args:
        endpoint: The endpoint.
        original: Whether it is OpenAI's own API, or Azure's, and not a compatible one.
    """

    shared = SHARED

    def __init__(self, endpoint: ProviderEndpoint, *, original: bool) -> None:
        self._endpoint = endpoint
        self._original = original
        self._tells_usage = True  # whether to ask for usage in streams; some servers do not know `stream_options`

    @cached_property
    def takes(self) -> frozenset[str]:
        from openai.resources.chat import AsyncCompletions

        return parameters_of(AsyncCompletions.create)

    def request(self, asked: Asked) -> JSON:
        params = asked.params
        messages = [self._message(each) for each in asked.turns]
        if system := params.pop("system", None):
            messages.insert(0, {"role": "system", "content": system})
        request: JSON = {"model": self._endpoint.model, "messages": messages, **params}
        if self._original and "max_tokens" in params:
            request["max_completion_tokens"] = request.pop("max_tokens")  # the new name, which newer models require
        request.update(asked.tools.for_chat())
        if asked.form is not None:
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": asked.form.name, **form_of(asked)},
            }
        return request

    def _message(self, turn: Turn) -> JSON:
        if not turn.role:
            raise self._endpoint._wrong("a message is in a form that chat completions do not take")
        message = {key: value for key, value in turn.own.items() if key != "extra_content"}
        if message["role"] == "model":
            message["role"] = "assistant"
        if isinstance(message.get("content"), list | tuple):
            message["content"] = [self._part(each) for each in turn.parts]
        return message

    def _part(self, part: Part) -> JSON:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        if isinstance(part, Media) and part.own["type"] == "input_image":
            detail = {"detail": part.own["detail"]} if part.own.get("detail") else {}
            return {"type": "image_url", "image_url": {"url": part.own["image_url"], **detail}}
        if isinstance(part, Media) and part.own["type"] == "input_file":
            named = {"filename": part.name} if part.name else {}
            return {"type": "file", "file": {"file_data": part.own.get("file_data"), **named}}
        own = part.part if isinstance(part, Own) else part.own
        if own.get("type") not in ("text", "image_url", "input_audio", "file", "refusal"):
            raise self._endpoint._wrong(
                f"a part of type {own.get('type')!r} is in a form that chat completions do not take"
            )
        return own

    async def send(self, client: Any, request: JSON) -> Any:
        return await client.chat.completions.create(**request)

    async def open(self, client: Any, request: JSON) -> Any:
        request = {**request, "stream": True}
        if self._tells_usage and "stream_options" not in request:
            try:
                return await self.send(client, {**request, "stream_options": {"include_usage": True}})
            except Exception as error:
                if self._original or not _names(error, "stream_options"):
                    raise
            self._tells_usage = False  # this server does not know the parameter, so it is not sent again
        return await self.send(client, request)

    def read(self, result: Any, heard: Heard) -> None:
        choices = getattr(result, "choices", None)
        if not choices:
            _no_choices(result, heard)
            raise EndpointReplyError(heard.name, 200)
        choice = choices[0]
        message = choice.message
        heard.model, heard.usage = getattr(result, "model", None), usage_of(result)
        heard.texts.append(_text_of(message.content))
        heard.refusals.append(getattr(message, "refusal", None) or "")
        for number, each in enumerate(getattr(message, "tool_calls", None) or ()):
            function = getattr(each, "function", None) or getattr(each, "custom", None)
            heard.calls[number] = _call(each.id, function)
        if (old := getattr(message, "function_call", None)) is not None:
            heard.calls["function"] = _call(old.name, old)
        heard.ends(getattr(choice, "finish_reason", None), getattr(choice, "error", None))

    def hear(self, chunk: Any, heard: Heard) -> str:
        choices = getattr(chunk, "choices", None)
        if choices is None:
            _no_choices(chunk, heard)
            return ""
        heard.usage = usage_of(chunk) or heard.usage
        heard.model = getattr(chunk, "model", None) or heard.model
        choice = next((each for each in choices if not getattr(each, "index", 0)), None)
        if choice is None:
            return ""
        # Azure's filter sends notes about earlier text, without a delta.
        delta = getattr(choice, "delta", None)
        if (refusal := getattr(delta, "refusal", None)) is not None:
            heard.refusals.append(refusal)
        for each in getattr(delta, "tool_calls", None) or ():
            _hear_call(each, heard)
        if (old := getattr(delta, "function_call", None)) is not None:
            call = heard.call("function")
            call.id = call.name = old.name or call.name
            call.text += old.arguments or ""
        if (reason := getattr(choice, "finish_reason", None)) is not None:
            # [DONE] is not passed on by the SDK, and omitted by some servers; the finish reason shows the end.
            heard.ended = True
            heard.ends(reason, getattr(choice, "error", None))
        return _text_of(getattr(delta, "content", None))


def form_of(asked: Asked) -> JSON:
    """The schema, in strict mode if possible."""
    form = asked.form
    assert form is not None  # noqa: S101 - asked for where there is one
    strict = form.strict()
    return {"schema": form.json if strict is None else strict, "strict": strict is not None}


def _call(given_id: object, function: Any) -> HeardCall:
    arguments = getattr(function, "arguments", None) or getattr(function, "input", None) or ""
    if isinstance(arguments, dict):  # some compatible servers send parsed arguments
        return HeardCall(str(given_id or ""), function.name, arguments=arguments)
    return HeardCall(str(given_id or ""), function.name, arguments)


def _hear_call(delta: Any, heard: Heard) -> None:
    """Read one piece of a tool call. Pieces of a call share its index, but some servers use index 0 for every call."""
    index = getattr(delta, "index", None) or 0
    mine = [key for key in heard.calls if isinstance(key, tuple) and key[0] == index]
    key = mine[-1] if mine else (index, 0)
    call = heard.call(key)
    if delta.id and call.id and delta.id != call.id:
        call = heard.call((index, len(mine)))
    call.id = call.id or delta.id or ""
    function = getattr(delta, "function", None)
    call.name += getattr(function, "name", None) or ""
    call.text += getattr(function, "arguments", None) or ""


def _text_of(content: Any) -> str:
    """The text of a content, which some compatible servers send as a list of parts with thoughts and text."""
    if isinstance(content, list | tuple):
        said = [each.get("text") for each in content if isinstance(each, dict) and each.get("type", "text") == "text"]
        return "".join([text for text in said if isinstance(text, str)])
    return str(content or "")


def _no_choices(result: Any, heard: Heard) -> None:
    """
    Handle a reply without choices: it may be an error, in a key "error" or as the whole object.

    Raises:
        EndpointReplyError: It is an error.
    """
    error = getattr(result, "error", None)
    if error is None and (getattr(result, "object", None) == "error" or getattr(result, "message", None)):
        error = plain(result)
    if error is not None:
        heard.fail(error)


def _names(error: Exception, parameter: str) -> bool:
    """Whether an error is a refused request that names this parameter."""
    return getattr(error, "status_code", None) in (400, 422) and parameter in str(getattr(error, "body", None) or error)
