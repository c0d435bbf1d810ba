"""
Check whether a value fits a JSON schema, for the keywords that providers enforce.

Types, enums, constants, properties, required properties, items, references and unions are checked. Other keywords
(patterns, lengths, ranges) are left to the provider; use a pydantic model to check more.
"""

from __future__ import annotations

from typing import Any

_DEEPEST = 60

_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def misfits(value: Any, schema: Any) -> tuple[str, ...]:
    """
    The kinds of problems of a value, with pydantic's names; empty if it fits.

    Args:
        value: Parsed JSON.
        schema: A JSON schema.
    """
    return tuple(dict.fromkeys(_misfits(value, schema, schema, 0)))


def _misfits(value: Any, schema: Any, root: Any, depth: int) -> list[str]:
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return []
    if "$ref" in schema:
        return _misfits(value, _target(schema["$ref"], root), root, depth + 1)
    problems: list[str] = []
    if "const" in schema and value != schema["const"]:
        problems.append("literal_error")
    if isinstance(schema.get("enum"), list) and value not in schema["enum"]:
        problems.append("enum")
    problems += [each for part in schema.get("allOf") or () for each in _misfits(value, part, root, depth + 1)]
    for unions in (schema.get("anyOf"), schema.get("oneOf")):
        if unions and all(_misfits(value, each, root, depth + 1) for each in unions):
            problems.append("union_error")
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return [*problems, f"{kinds[0]}_type"]
    if isinstance(value, dict):
        problems += _fields(value, schema, root, depth)
    elif isinstance(value, list):
        problems += [each for item in value for each in _misfits(item, schema.get("items"), root, depth + 1)]
    return problems


def _fields(value: dict[str, Any], schema: dict[str, Any], root: Any, depth: int) -> list[str]:
    properties, rest = schema.get("properties") or {}, schema.get("additionalProperties", True)
    problems = ["missing" for name in schema.get("required") or () if name not in value]
    for name, each in value.items():
        if name in properties:
            problems += _misfits(each, properties[name], root, depth + 1)
        elif rest is False:
            problems.append("extra_forbidden")
        else:
            problems += _misfits(each, rest, root, depth + 1)
    return problems


def _is(value: Any, kind: object) -> bool:
    if isinstance(value, bool) and kind in ("number", "integer"):
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    known = _KINDS.get(str(kind).lower())
    return known is None or isinstance(value, known)


def _target(reference: object, root: Any) -> Any:
    found = root
    for part in str(reference).removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    return found
