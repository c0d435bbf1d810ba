"""Parse tools in OpenAI's form (chat or Responses) for all APIs, and tools in a vendor's own form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from resilient_ai._core.kinds import kind_of

JSON: TypeAlias = dict[str, Any]
Kind: TypeAlias = Literal["openai", "anthropic", "google"]

_DATED = re.compile(r"_\d{8}\Z|\Amcp_toolset\Z")
_NAMES = {"openai": "OpenAI's", "anthropic": "Anthropic's", "google": "Google's"}


@dataclass(frozen=True, slots=True)
class Function:
    """A tool that the caller executes."""

    name: str
    description: str | None = None
    parameters: JSON = field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """
    The tools of a call.

    Attributes:
        functions: Tools in OpenAI's form.
        own: Tools in the form of the API in use.
        choice: "auto", "none", "required", or the name of the function that must be called; None: not given.
        parallel: Whether several may be called at a time; None: not given.
    """

    functions: tuple[Function, ...] = ()
    own: tuple[Any, ...] = ()
    choice: str | None = None
    parallel: bool | None = None

    @property
    def named(self) -> bool:
        """Whether one function must be called."""
        return self.choice is not None and self.choice not in ("auto", "none", "required")

    def for_chat(self) -> JSON:
        """Return the fields of a request in the form of OpenAI's Chat Completions."""
        fields: JSON = {}
        if self.functions or self.own:
            fields["tools"] = [*map(_for_chat, self.functions), *self.own]
        if self.choice is not None:
            one = {"type": "function", "function": {"name": self.choice}}
            fields["tool_choice"] = one if self.named else self.choice
        if self.parallel is not None:
            fields["parallel_tool_calls"] = self.parallel
        return fields


def _for_chat(function: Function) -> JSON:
    known = {key: value for key, value in asdict(function).items() if value is not None}
    return {"type": "function", "function": known}


def tools_of(
    given: object, choice: object, parallel: object, *, here: Kind, wrong: Callable[[str], Exception]
) -> Tools:
    """
    The tools of a call.

    Args:
        given: The tools.
        choice: Which tool must be called.
        parallel: Whether several may be called at a time.
        here: The API in use.
        wrong: Makes the error for tools that cannot be parsed, or that this API does not know.
    """
    if given is None:
        given = ()
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise wrong(f"tools must be a list, got {kind_of(given)}")
    functions, own = [], []
    for number, each in enumerate(given):
        kind = _kind(each)
        if kind == "function":
            functions.append(_function(each, number, wrong))
        elif kind == here:
            own.append(each)
        else:
            raise wrong(
                f"tool {number} is in {_NAMES[kind]} own form, which this API does not take;"
                ' give it in OpenAI\'s form: {"type": "function", "function": {…}}'
            )
    if parallel is not None and not isinstance(parallel, bool):
        raise wrong(f"parallel_tool_calls must be True or False, got {parallel!r}")
    return Tools(tuple(functions), tuple(own), _choice(choice, wrong), parallel)


def _kind(tool: object) -> Literal["function"] | Kind:
    if not isinstance(tool, Mapping):
        return "google"  # an object of Google's SDK, or a function
    kind = tool.get("type")
    if kind == "function":
        return "function"
    if "input_schema" in tool or (isinstance(kind, str) and _DATED.search(kind)):
        return "anthropic"
    return "openai" if kind is not None else "google"


def _function(tool: Mapping[str, Any], number: int, wrong: Callable[[str], Exception]) -> Function:
    about = tool.get("function", tool)
    if not isinstance(about, Mapping) or not isinstance(about.get("name"), str):
        raise wrong(f"tool {number} has no name")
    parameters = about.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(parameters, Mapping):
        raise wrong(f"parameters of tool {number} must be a JSON schema, got {kind_of(parameters)}")
    return Function(about["name"], about.get("description"), dict(parameters), about.get("strict"))


_ANTHROPIC_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def _choice(choice: object, wrong: Callable[[str], Exception]) -> str | None:
    if choice is None or (isinstance(choice, str) and choice in ("auto", "none", "required")):
        return choice
    if isinstance(choice, Mapping):
        inner = choice.get("function", choice)
        if isinstance(inner, Mapping) and isinstance(inner.get("name"), str):
            return str(inner["name"])
        if choice.get("type") in _ANTHROPIC_CHOICES:
            return _ANTHROPIC_CHOICES[choice["type"]]
    raise wrong(
        'tool_choice must be "auto", "none", "required" or {"type": "function", "function": {"name": …}},'
        f" got {choice!r}"
    )
