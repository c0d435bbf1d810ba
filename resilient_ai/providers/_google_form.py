"""Google's wire format: messages, tools and schemas as contents and config, and the replies."""

from __future__ import annotations

import base64
import re
import uuid
from copy import deepcopy
from typing import Any

from resilient_ai._usage.readers import usage_of

from ._heard import Heard
from ._messages import JSON, Media, Own, Part, Turn, Wrong
from ._tools import Tools

# Accepted in place of a signature for tool calls of another vendor's model:
# https://ai.google.dev/gemini-api/docs/thought-signatures
_UNSIGNED = b"skip_thought_signature_validator"
_SIGNS_NOTHING = re.compile(r"gemini-[12](?!\d)")


def contents(turns: list[Turn], model: str, wrong: Wrong) -> list[Any]:
    names: dict[str, str] = {}
    made: list[Any] = []
    for turn in turns:
        names.update((call.id, call.name) for call in turn.calls)
        if turn.role == "tool":
            part = _result(turn, names, wrong)
            if made and isinstance(made[-1], dict) and _all_results(made[-1]):
                made[-1]["parts"].append(part)  # results of the calls of one turn must be in one content
            else:
                made.append({"role": "user", "parts": [part]})
        elif turn.role == "user":
            made.append({"role": "user", "parts": [_part(each, wrong) for each in turn.parts]})
        elif turn.role == "assistant":
            if parts := [_part(each, wrong) for each in turn.parts if each != ""] + _calls(turn, model):
                made.append({"role": "model", "parts": parts})
        elif not turn.role and ("content" in turn.own or "parts" in turn.own):  # in Google's own form
            made.append(turn.own if "parts" in turn.own else turn.own["content"])
        else:
            raise wrong(f"a message of role {turn.own.get('role')!r} is in a form that Google's API does not take")
    return made


def _all_results(content: JSON) -> bool:
    return all("function_response" in part for part in content["parts"])


def _calls(turn: Turn, model: str) -> list[JSON]:
    signatures = (turn.extra.get("google") or {}).get("signatures") or {}
    parts: list[JSON] = []
    for number, call in enumerate(turn.calls):
        part: JSON = {"function_call": {"name": call.name, "args": call.arguments}}
        if call.id in signatures:
            part["thought_signature"] = base64.b64decode(signatures[call.id])
        elif number == 0 and not signatures and not _SIGNS_NOTHING.match(model):
            part["thought_signature"] = _UNSIGNED
        parts.append(part)
    return parts


def _result(turn: Turn, names: dict[str, str], wrong: Wrong) -> JSON:
    name = names.get(turn.call_id)
    if name is None:
        raise wrong(f"the result of call {turn.call_id!r} belongs to no call of a tool before it")
    if turn.text is None:
        raise wrong("Google's API takes texts as results of tools")
    return {"function_response": {"name": name, "response": {"output": turn.text}}}


def _part(part: Part, wrong: Wrong) -> JSON:
    if isinstance(part, str):
        return {"text": part}
    if isinstance(part, Own):
        if "type" in part.part:
            raise wrong(f"a part of type {part.part['type']!r} is in a form that Google's API does not take")
        return part.part
    return _media(part)


def _media(part: Media) -> JSON:
    if part.url is not None:
        return {"file_data": {"file_uri": part.url, "mime_type": part.mime}}
    return {"inline_data": {"mime_type": part.mime, "data": part.content}}


def tools(given: Tools, wrong: Wrong) -> JSON:
    """The fields of the config for tools and their use."""
    if given.parallel is False:
        raise wrong("Google's API cannot be told to call one tool at a time (parallel_tool_calls)")
    config: JSON = {}
    if given.functions or given.own:
        declared = [
            {
                "name": each.name,
                "description": each.description or "",
                "parameters_json_schema": plain_schema(each.parameters),
            }
            for each in given.functions
        ]
        config["tools"] = [*([{"function_declarations": declared}] if declared else []), *given.own]
        config["automatic_function_calling"] = {"disable": True}  # tools are not executed here
    if given.choice is not None:
        mode = {"auto": "AUTO", "none": "NONE"}.get(given.choice, "ANY")
        only = {"allowed_function_names": [given.choice]} if given.named else {}
        config["tool_config"] = {"function_calling_config": {"mode": mode, **only}}
    return config


def plain_schema(schema: JSON) -> JSON:
    """The schema with the keywords that this API knows."""
    made: JSON = _plain(deepcopy(schema))
    return made


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    if "const" in node:
        node["enum"] = [node.pop("const")]
    for key in ("default", "discriminator", "examples", "$schema", "strict"):
        node.pop(key, None)
    for key in ("properties", "$defs", "definitions"):
        if isinstance(node.get(key), dict):
            node[key] = {name: _plain(each) for name, each in node[key].items()}
    for key in ("items", "anyOf", "oneOf", "allOf", "prefixItems", "additionalProperties"):
        if key in node:
            node[key] = _plain(node[key])
    return node


# -- replies


def read(result: Any, heard: Heard) -> None:
    texts = take(result, heard)
    heard.texts.append(texts)
    if not heard.ended:
        heard.fail(getattr(result, "error", None))


def take(chunk: Any, heard: Heard) -> str:
    """Read a result, or a piece of one; returns its text."""
    heard.usage = usage_of(chunk) or heard.usage
    heard.model = getattr(chunk, "model_version", None) or heard.model
    feedback = getattr(chunk, "prompt_feedback", None)
    if getattr(feedback, "block_reason", None) is not None:
        heard.ended = True
        heard.ends("content_filter")
        return ""
    candidates = getattr(chunk, "candidates", None) or ()
    if not candidates:
        return ""
    candidate = candidates[0]
    texts = [_hear_part(part, heard) for part in getattr(candidate.content, "parts", None) or ()]
    reason = getattr(candidate.finish_reason, "value", candidate.finish_reason)
    if reason is not None and reason != "FINISH_REASON_UNSPECIFIED":
        heard.ended = True
        heard.ends(reason)
        if reason in ("OTHER", "IMAGE_OTHER") and not any((*heard.texts, *texts, heard.calls)):
            heard.ends("content_filter")  # this only says that there is no answer
    return "".join(texts)


def _hear_part(part: Any, heard: Heard) -> str:
    if (function := part.function_call) is not None:
        call = heard.call(len(heard.calls))
        # Most Google APIs give calls no id, but results must be assigned to calls.
        call.id, call.name = function.id or f"call_{uuid.uuid4().hex[:16]}", function.name or ""
        call.arguments = dict(function.args or {})
        if part.thought_signature:
            signatures = heard.extra.setdefault("google", {}).setdefault("signatures", {})
            signatures[call.id] = base64.b64encode(part.thought_signature).decode()
        return ""
    return "" if part.thought else str(part.text or "")
