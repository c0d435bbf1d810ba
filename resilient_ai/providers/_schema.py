"""The required form of an answer, a pydantic model or a JSON schema, and its check."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from functools import lru_cache
from typing import Any, TypeAlias

from resilient_ai._core.kinds import kind_of

from ._json_schema import misfits

JSON: TypeAlias = dict[str, Any]


class MisfitError(ValueError):
    """A text does not have the form. `problems` are only kinds, because values belong to the answer."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(", ".join(problems))
        self.problems = problems


class Form:
    """
    The form in `schema=`.

    Attributes:
        name: A name, for APIs that need one.
        json: The JSON schema.
    """

    __slots__ = ("_parse", "json", "name")

    def __init__(self, name: str, json: JSON, parse: Callable[[str], Any]) -> None:
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "answer"
        self.json = json
        self._parse = parse

    @classmethod
    def of(cls, schema: Any) -> Form:
        """
        The form of a pydantic model, a type that pydantic understands, or a JSON schema.

        Raises:
            ValueError: It is none of these, or does not describe an object, which the APIs require.
        """
        form: Form | None = None
        if isinstance(schema, Mapping):
            form = _of_json(dict(schema))
        else:
            with suppress(TypeError):  # not hashable, so not a type
                form = _of_type(schema)
        if form is None or not _is_object(form.json):
            what = f"the class {schema.__name__}" if isinstance(schema, type) else kind_of(schema)
            raise ValueError(f"schema must be a pydantic model or the JSON schema of an object, got {what}")
        return form

    def parsed(self, text: str) -> Any:
        """
        Parse an answer.

        Raises:
            MisfitError: It does not have this form.
        """
        return self._parse(_without_fence(text))

    def strict(self) -> JSON | None:
        """
        The same schema for strict mode: every object closed, every property required.

        Returns:
            The schema; None if that is not possible, because an object of the schema is open on purpose.
        """
        return _closed(self.json)


@lru_cache(128)
def _of_type(kind: Any) -> Form | None:
    """The form of a pydantic model, without importing pydantic, or of another type, with pydantic."""
    if callable(getattr(kind, "model_json_schema", None)):
        schema, validate = kind.model_json_schema(), kind.model_validate_json
    else:
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUserError

        try:
            adapter = TypeAdapter(kind)
            schema, validate = adapter.json_schema(), adapter.validate_json
        except (PydanticUserError, NameError, AttributeError):
            return None

    def parse(text: str) -> Any:
        try:
            return validate(text)
        except ValueError as error:  # such as a pydantic ValidationError, which quotes its input
            told: Any = error if hasattr(error, "errors") else None
            kinds = [str(each["type"]) for each in told.errors(include_input=False)] if told is not None else []
            raise MisfitError(tuple(kinds) or ("value_error",)) from None

    return Form(str(getattr(kind, "__name__", schema.get("title", "answer"))), schema, parse)


def _of_json(schema: JSON) -> Form:
    # OpenAI's own wrapper around a schema is accepted too: {"name": …, "schema": {…}}.
    inner = schema.get("schema")
    if isinstance(inner, Mapping) and "type" not in schema and "properties" not in schema:
        return Form(str(schema.get("name") or "answer"), dict(inner), _reader(dict(inner)))
    return Form(str(schema.get("title") or "answer"), schema, _reader(schema))


def _reader(schema: JSON) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = json.loads(text)
        except ValueError:
            raise MisfitError(("json_invalid",)) from None
        if problems := misfits(value, schema):
            raise MisfitError(problems)
        return value

    return parse


_FENCE = re.compile(r"\A\s*```[A-Za-z]*\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


def _without_fence(text: str) -> str:
    """The text without a code fence, which models often put around JSON if the API does not enforce a schema."""
    if "```" not in text[:20]:
        return text
    found = _FENCE.match(text)
    return found[1] if found is not None else text


def _is_object(schema: JSON) -> bool:
    return schema.get("type") == "object" or "properties" in schema or "$ref" in schema


# -- closed schemas


def _closed(schema: JSON) -> JSON | None:
    try:
        closed: JSON = _close(deepcopy(schema), schema, 0)
    except _OpenError:
        return None
    return closed


class _OpenError(Exception):
    pass


def _close(node: Any, root: JSON, depth: int) -> Any:
    if depth > 100:
        raise _OpenError
    if isinstance(node, list):
        return [_close(each, root, depth + 1) for each in node]
    if not isinstance(node, dict):
        return node
    node = _without_odd_keys(node, root)
    if node.get("type") == "object" or "properties" in node:
        if node.get("additionalProperties", False) is not False or "patternProperties" in node:
            raise _OpenError
        properties = node.get("properties") or {}
        node.update(type="object", properties=properties, required=list(properties), additionalProperties=False)
    for key in ("properties", "$defs", "definitions"):
        if isinstance(node.get(key), dict):
            node[key] = {name: _close(each, root, depth + 1) for name, each in node[key].items()}
    for key in ("items", "anyOf", "prefixItems"):
        if key in node:
            node[key] = _close(node[key], root, depth + 1)
    return node


def _without_odd_keys(node: JSON, root: JSON) -> JSON:
    """The node without keywords that strict APIs refuse, replaced by accepted ones if possible."""
    if "$ref" in node and len(node) > 1:  # a reference must be alone, so its siblings are merged into its target
        target = _target(node["$ref"], root)
        node = {**deepcopy(target), **{key: value for key, value in node.items() if key != "$ref"}}
    if len(node.get("allOf") or ()) == 1:
        (only,) = node.pop("allOf")
        return _without_odd_keys({**only, **node}, root)
    if "oneOf" in node:
        node["anyOf"] = node.pop("oneOf")
    for key in ("default", "discriminator", "examples"):
        node.pop(key, None)
    return node


def _target(reference: object, root: JSON) -> JSON:
    found: Any = root
    for part in str(reference).removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise _OpenError
    return found
