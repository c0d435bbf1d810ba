"""Anthropic's wire format: messages, tools and schemas as blocks, and the replies."""

from __future__ import annotations

import sys
from contextlib import suppress
from copy import deepcopy
from typing import Any

from resilient_ai._core.usage import Usage
from resilient_ai._usage.readers import usage_of

from ._errors import EndpointReplyError
from ._heard import Heard, plain
from ._messages import JSON, Media, Own, Part, Turn, Wrong
from ._schema import Form
from ._tools import Tools

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def messages(turns: list[Turn], wrong: Wrong) -> list[JSON]:
    made: list[JSON] = []
    for turn in turns:
        if turn.role == "tool":
            result = _result(turn, wrong)
            if made and made[-1]["role"] == "user" and _all_results(made[-1]["content"]):
                made[-1]["content"].append(result)  # results of the calls of one turn must be in one message
            else:
                made.append({"role": "user", "content": [result]})
        elif turn.role in ("user", "assistant"):
            content = _content(turn, wrong)
            if content:
                made.append({"role": turn.role, "content": content})
        else:
            raise wrong(f"a message of role {turn.own.get('role')!r} is in a form that Anthropic's API does not take")
    return made


def _all_results(content: Any) -> bool:
    return isinstance(content, list) and all(block.get("type") == "tool_result" for block in content)


def _content(turn: Turn, wrong: Wrong) -> str | list[JSON]:
    if not turn.calls and not turn.extra and len(turn.parts) == 1 and isinstance(turn.parts[0], str):
        return turn.parts[0]
    blocks: list[JSON] = list((turn.extra.get("anthropic") or {}).get("thinking") or ())
    blocks += [_block(each, wrong) for each in turn.parts if each != ""]
    blocks += [{"type": "tool_use", "id": each.id, "name": each.name, "input": each.arguments} for each in turn.calls]
    return blocks


def _result(turn: Turn, wrong: Wrong) -> JSON:
    content = turn.text if turn.text is not None else [_block(each, wrong) for each in turn.parts]
    return {"type": "tool_result", "tool_use_id": turn.call_id, "content": content}


def _block(part: Part, wrong: Wrong) -> JSON:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, Own):
        if part.part.get("type") in ("input_audio", "image_url", "input_image", "file", "input_file"):
            raise wrong(f"a part of type {part.part['type']!r} cannot be read")
        return part.part
    if part.kind == "audio":
        raise wrong("Anthropic's API takes no audio")
    if part.kind == "image" and part.url is None and part.mime not in _IMAGES:
        raise wrong(f"Anthropic's API takes images of type {', '.join(_IMAGES)}, not {part.mime}")
    return {"type": "image" if part.kind == "image" else "document", "source": _source(part)}


def _source(part: Media) -> JSON:
    if part.url is not None:
        return {"type": "url", "url": part.url}
    return {"type": "base64", "media_type": part.mime, "data": part.data}


def tools(given: Tools) -> JSON:
    """The parameters for tools and their use."""
    request: JSON = {}
    if given.functions or given.own:
        request["tools"] = [*map(_function, given.functions), *given.own]
    choice: JSON | None = None
    if given.choice is not None:
        plain_choices = {"auto": "auto", "required": "any", "none": "none"}
        choice = {"type": "tool", "name": given.choice} if given.named else {"type": plain_choices[given.choice]}
    if given.parallel is not None and "tools" in request:
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = not given.parallel
    if choice is not None:
        request["tool_choice"] = choice
    return request


def _function(function: Any) -> JSON:
    told: JSON = {"name": function.name, "input_schema": {"type": "object", **function.parameters}}
    if function.description is not None:
        told["description"] = function.description
    if function.strict is not None:
        told["strict"] = function.strict
    return told


def output(form: Form) -> JSON:
    """The schema of the answer; the SDK knows which keywords the API accepts."""
    schema = form.strict() or form.json
    # The SDK is not imported, too old, or cannot convert the schema.
    with suppress(KeyError, AttributeError, TypeError, ValueError):
        schema = sys.modules["anthropic"].transform_schema(deepcopy(form.json))
    return {"type": "json_schema", "schema": schema}


# -- replies


def read(result: Any, heard: Heard) -> None:
    content = getattr(result, "content", None)
    if not isinstance(content, list):
        raise EndpointReplyError(heard.name, 200, plain(result) if isinstance(plain(result), dict) else None)
    heard.model, heard.usage = getattr(result, "model", None), usage_of(result)
    for number, block in enumerate(content):
        if block.type == "text":
            heard.texts.append(block.text)
        elif block.type == "tool_use":
            call = heard.call(number)
            call.id, call.name, call.arguments = block.id, block.name, dict(block.input or {})
        elif block.type in ("thinking", "redacted_thinking"):
            _thoughts(heard).append(_thought(block))
    _ends(result, heard)


def hear(event: Any, heard: Heard) -> str:
    if event.type == "content_block_delta":
        return _hear_delta(event, heard)
    if event.type == "content_block_start":
        block = event.content_block
        if block.type == "tool_use":
            call = heard.call(event.index)
            call.id, call.name = block.id, block.name
        elif block.type in ("thinking", "redacted_thinking"):
            _thoughts(heard).append({"index": event.index, **_thought(block)})
        elif block.type == "text":
            return str(block.text or "")
    elif event.type == "message_start":
        heard.model, heard.usage = getattr(event.message, "model", None), usage_of(event.message)
    elif event.type == "message_delta":
        heard.usage = _settled(heard.usage, usage_of(event))
        _ends(event.delta, heard)
    elif event.type == "message_stop":
        heard.ended = True
        for each in heard.extra.get("anthropic", {}).get("thinking", ()):
            each.pop("index", None)
    return ""


def _hear_delta(event: Any, heard: Heard) -> str:
    delta = event.delta
    if delta.type == "text_delta":
        return str(delta.text)
    if delta.type == "input_json_delta":
        heard.call(event.index).text += delta.partial_json
    for each in _thoughts(heard) if delta.type in ("thinking_delta", "signature_delta") else ():
        if each.get("index") == event.index:
            key = delta.type.removesuffix("_delta")
            each[key] = each.get(key, "") + getattr(delta, key)
    return ""


def _settled(begun: Usage | None, told: Usage | None) -> Usage | None:
    """The usage in the last event; numbers missing there are in the first one."""
    if begun is None or told is None or told.input_tokens:
        return told or begun
    return Usage(
        begun.input_tokens,
        told.output_tokens,
        begun.cache_read_tokens,
        begun.cache_write_tokens,
        told.reasoning_tokens,
    )


def _ends(told: Any, heard: Heard) -> None:
    heard.ends(getattr(told, "stop_reason", None))
    explanation = getattr(getattr(told, "stop_details", None), "explanation", None)
    if heard.finish == "refusal" and explanation:
        heard.refusals.append(str(explanation))


def _thoughts(heard: Heard) -> list[JSON]:
    thoughts: list[JSON] = heard.extra.setdefault("anthropic", {}).setdefault("thinking", [])
    return thoughts


def _thought(block: Any) -> JSON:
    told = plain(block)
    return {key: value for key, value in told.items() if value is not None} if isinstance(told, dict) else {}
