"""Make a value that fits a JSON schema, for answers in a required form."""

from __future__ import annotations

from typing import Any

_DEEPEST = 20


def example(schema: Any, text: str) -> Any:
    """
    A value that fits a schema.

    Args:
        schema: A JSON schema; Google's upper-case types are accepted.
        text: The value of every string, unless the schema prescribes another.
    """
    return _example(schema, schema, text, 0)


def _example(schema: Any, root: Any, text: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return text
    if "$ref" in schema:
        return _example(_resolved(schema["$ref"], root), root, text, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if schema.get(several):
            return _example(schema[several][0], root, text, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = str(kind[0] if isinstance(kind, list) else kind).lower()
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: _example(each, root, text, depth + 1) for name, each in properties.items()}
    if kind == "array":
        if depth > 4 and not schema.get("minItems"):
            return []
        return [_example(schema.get("items"), root, text, depth + 1)] * max(1, int(schema.get("minItems") or 1))
    if kind in ("integer", "number"):
        return _number(schema)
    return {"boolean": True, "null": None}.get(kind, text)


def _number(schema: dict[str, Any]) -> Any:
    if "exclusiveMinimum" in schema:
        return schema["exclusiveMinimum"] + 1
    least = schema.get("minimum", 1)
    return min(least, schema["maximum"]) if "maximum" in schema else max(least, 1)


def _resolved(reference: str, root: Any) -> Any:
    found = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    return found
