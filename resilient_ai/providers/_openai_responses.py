"""OpenAI's Responses: requests, replies and stream events."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from resilient_ai._usage.readers import usage_of

from ._endpoint import Asked, parameters_of
from ._errors import EndpointReplyError
from ._heard import Heard, HeardCall, plain
from ._messages import JSON, Media, Own, Part, Turn
from ._mismatch import SHARED
from ._openai_chat import form_of

if TYPE_CHECKING:
    from ._endpoint import ProviderEndpoint


class ResponsesAPI:
    """
    The Responses API.

    Args:
        endpoint: The endpoint.
    """

    shared = SHARED - {"stop"}

    def __init__(self, endpoint: ProviderEndpoint) -> None:
        self._endpoint = endpoint

    @cached_property
    def takes(self) -> frozenset[str]:
        from openai.resources.responses import AsyncResponses

        # Not `background`: such a response is not an answer yet.
        return parameters_of(AsyncResponses.create) - {"background"}

    def request(self, asked: Asked) -> JSON:
        params, tools = asked.params, asked.tools
        system = [text for text in (params.pop("system", None), params.pop("instructions", None)) if text]
        request: JSON = {"model": self._endpoint.model, "input": self._input(asked.turns), **params}
        if system:
            request["instructions"] = "\n\n".join(map(str, system))
        if "max_tokens" in params:
            request["max_output_tokens"] = request.pop("max_tokens")
        if tools.functions or tools.own:
            # Tools are strict by default here, but not in chat completions, and both get the same tools.
            functions = [
                {
                    "type": "function",
                    "name": each.name,
                    "description": each.description,
                    "parameters": each.parameters,
                    "strict": bool(each.strict),
                }
                for each in tools.functions
            ]
            request["tools"] = [*functions, *tools.own]
        if tools.choice is not None:
            request["tool_choice"] = {"type": "function", "name": tools.choice} if tools.named else tools.choice
        if tools.parallel is not None:
            request["parallel_tool_calls"] = tools.parallel
        if asked.form is not None:
            text = params.get("text")
            more = text if isinstance(text, dict) else {}
            request["text"] = {**more, "format": {"type": "json_schema", "name": asked.form.name, **form_of(asked)}}
        return request

    def _input(self, turns: list[Turn]) -> list[JSON]:
        return [item for turn in turns for item in self._items(turn)]

    def _items(self, turn: Turn) -> list[JSON]:
        if not turn.role:
            if "type" not in turn.own:
                raise self._endpoint._wrong("a message is in a form that Responses do not take")
            return [turn.own]
        if turn.role == "tool":
            output = turn.text if turn.text is not None else [self._part(each, "input_text") for each in turn.parts]
            return [{"type": "function_call_output", "call_id": turn.call_id, "output": output}]
        items: list[JSON] = list((turn.extra.get("openai") or {}).get("reasoning") or ())
        if turn.parts:
            role = "assistant" if turn.role == "assistant" else turn.own["role"]
            said = "output_text" if turn.role == "assistant" else "input_text"
            content = turn.text if len(turn.parts) == 1 and turn.text is not None else None
            items.append({"role": role, "content": content or [self._part(each, said) for each in turn.parts]})
        for call, own in zip(turn.calls, turn.own.get("tool_calls") or (), strict=True):
            arguments = own["function"].get("arguments") or "{}"
            items.append({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments})
        return items

    def _part(self, part: Part, said: str) -> JSON:
        if isinstance(part, str):
            return {"type": said, "text": part}
        if isinstance(part, Media) and part.kind == "image":
            given = part.own["image_url"]
            detail = part.own.get("detail") or (given.get("detail") if isinstance(given, dict) else None) or "auto"
            return {
                "type": "input_image",
                "image_url": given if isinstance(given, str) else given["url"],
                "detail": detail,
            }
        if isinstance(part, Media) and part.kind == "file":
            named = {"filename": part.name} if part.name else {}
            if part.url is not None:
                return {"type": "input_file", "file_url": part.url}
            return {"type": "input_file", "file_data": f"data:{part.mime};base64,{part.data}", **named}
        own = part.part if isinstance(part, Own) else part.own
        if not str(own.get("type")).startswith(("input_", "output_")):
            raise self._endpoint._wrong(f"a part of type {own.get('type')!r} is in a form that Responses do not take")
        return own

    async def send(self, client: Any, request: JSON) -> Any:
        return await client.responses.create(**request)

    async def open(self, client: Any, request: JSON) -> Any:
        return await self.send(client, {**request, "stream": True})

    def read(self, result: Any, heard: Heard) -> None:
        status = getattr(result, "status", None)
        error = getattr(result, "error", None)
        output = getattr(result, "output", None)
        if error is not None or status in ("failed", "cancelled"):
            heard.fail(error if error is not None else {"code": status})
        if output is None or status in ("queued", "in_progress"):
            raise EndpointReplyError(heard.name, 200, plain(result) if isinstance(plain(result), dict) else None)
        heard.texts += [text for item in output for text in _texts(item)]
        self._close(result, heard)

    def hear(self, event: Any, heard: Heard) -> str:
        kind = getattr(event, "type", None)
        if kind == "response.output_text.delta":
            return str(event.delta)
        if kind == "response.refusal.delta":
            heard.refusals.append(event.delta)
        elif kind in ("response.completed", "response.incomplete"):
            heard.ended = True
            heard.refusals.clear()  # the whole response contains them again
            self._close(event.response, heard)
        elif kind == "response.failed":
            error = getattr(event.response, "error", None)
            heard.fail(error if error is not None else getattr(event, "error", None))
        elif kind == "error" or (kind is None and getattr(event, "message", None)):
            heard.fail({"code": getattr(event, "code", None), "message": getattr(event, "message", None)})
        return ""

    def _close(self, response: Any, heard: Heard) -> None:
        """Read a whole response, except its text."""
        heard.model, heard.usage = getattr(response, "model", None), usage_of(response)
        output: Any = getattr(response, "output", None)
        for number, item in enumerate(output or ()):
            kind = getattr(item, "type", None)
            if kind == "function_call" and getattr(item, "status", None) != "incomplete":
                heard.calls[number] = HeardCall(item.call_id, item.name, item.arguments)
            elif kind == "message":
                parts: list[Any] = list(item.content or ())
                heard.refusals += [part.refusal for part in parts if getattr(part, "refusal", None)]
            elif kind == "reasoning" and getattr(item, "encrypted_content", None):
                heard.extra.setdefault("openai", {}).setdefault("reasoning", []).append(plain(item))
        details = getattr(response, "incomplete_details", None)
        incomplete = getattr(response, "status", None) == "incomplete"
        heard.ends((getattr(details, "reason", None) or "length") if incomplete else "stop")


def _texts(item: Any) -> list[str]:
    if getattr(item, "type", None) != "message":
        return []
    return [part.text for part in item.content or () if getattr(part, "type", None) == "output_text"]
