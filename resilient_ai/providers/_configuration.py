"""Make endpoints from the entries of a configuration file."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from resilient_ai._core.kinds import kind_of
from resilient_ai._core.public import public

from ._anthropic import AnthropicEndpoint
from ._endpoint import ProviderEndpoint
from ._google import GoogleEndpoint
from ._http import HTTPEndpoint
from ._openai import OpenAIEndpoint

_KINDS: dict[str, type[ProviderEndpoint]] = {
    "openai": OpenAIEndpoint,
    "anthropic": AnthropicEndpoint,
    "google": GoogleEndpoint,
    "http": HTTPEndpoint,
    "custom": HTTPEndpoint,
}


@public("providers")
def endpoints_from(entries: Iterable[Mapping[str, Any]]) -> list[ProviderEndpoint]:
    """
    Make endpoints from a list of mappings, such as the entries of a configuration file.

    Args:
        entries: Mappings with `type` ("openai", "anthropic", "google", or "http" alias "custom"), `name`, and the
            parameters of that endpoint: `model`, `api_key`, `base_url`, `url`, `headers`, `region`, `weight`, …

    Returns:
        The endpoints, in order.

    Raises:
        ValueError: An unknown type, a missing or unknown key, a name used twice, or a bad value; the message names the
            entry, never a value that may be a key.

    Examples:
        >>> us, own = endpoints_from([
        ...     {"type": "openai", "name": "us", "model": "gpt-4o-mini", "region": "us-east"},
        ...     {"type": "http", "name": "own", "url": "https://models.example/complete"},
        ... ])
        >>> own
        HTTPEndpoint('own', host='models.example')
    """
    made: list[ProviderEndpoint] = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise ValueError(f"endpoint {number} must be a mapping, got {kind_of(entry)}")
        where = f"endpoint {number} ({entry.get('name', 'without name')!s})"
        kind = _KINDS.get(str(entry.get("type")))
        if "type" not in entry or kind is None:
            given = f"has the unknown type {entry['type']!r}" if "type" in entry else "has no type"
            raise ValueError(f"{where} {given}; there are: {', '.join(_KINDS)}")
        takes = inspect.signature(kind).parameters
        for key, parameter in takes.items():
            if parameter.default is parameter.empty and key not in entry:
                raise ValueError(f"{where} of type {entry['type']!r} needs {key!r}")
        for key in entry.keys() - {"type"} - takes.keys():
            near = difflib.get_close_matches(str(key), takes, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it takes: {', '.join(takes)}"
            raise ValueError(f"{where} of type {entry['type']!r} takes no {key!r}{hint}")
        try:
            endpoint = kind(**{key: value for key, value in entry.items() if key != "type"})
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if any(endpoint.name == each.name for each in made):
            raise ValueError(f"{where} has a name that is there already; names must be unique")
        made.append(endpoint)
    return made
