"""Check that the other endpoints of a failover support the same calls, before an outage needs them."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol

from resilient_ai._core.call_warnings import warn_in_a_call
from resilient_ai._core.errors import EndpointMismatchWarning, ParameterError
from resilient_ai._core.imports import imported

# Parameters with the same meaning for all APIs, which can be checked without an SDK.
SHARED = frozenset({"system", "max_tokens", "temperature", "top_p", "timeout", "stop"})
TAKEN_BY_ALL = SHARED | {"prompt", "tools", "schema", "tool_choice", "parallel_tool_calls"}

_MOST = 100  # most kinds of calls that are checked for one endpoint


class Sibling(Protocol):
    """What this requires of an endpoint."""

    name: str
    _module: ClassVar[str]

    @property
    def _could_take(self) -> Callable[..., None]: ...


class Siblings:
    """The other endpoints in the failovers of one endpoint, and the kinds of calls already checked."""

    __slots__ = ("_compared", "_others", "_told")

    def __init__(self) -> None:
        self._others: weakref.WeakSet[Sibling] = weakref.WeakSet()
        self._compared: set[frozenset[str]] = set()
        self._told: set[str] = set()

    def meet(self, others: Iterable[Sibling]) -> None:
        """Add the other endpoints of a failover."""
        self._others.update(others)
        self._compared.clear()

    def is_new(self, call: Mapping[str, Any]) -> bool:
        """Whether a call is the first of its kind and there are other endpoints; True once for each kind."""
        if not self._others:
            return False
        kind = frozenset([name for name, value in call.items() if value is not None])
        if kind in self._compared or len(self._compared) >= _MOST:
            return False
        self._compared.add(kind)
        return True

    async def compare(self, endpoint: Sibling, call: Mapping[str, Any], *, plain: bool) -> None:
        """
        Check a call against the other endpoints, and warn of parameters that one does not support. Nothing is sent.

        Args:
            endpoint: The endpoint of the call.
            call: The arguments of the call, by name.
            plain: Whether the call came from plain code.
        """
        others = [each for each in self._others if each is not endpoint]
        if not call.keys() <= TAKEN_BY_ALL:
            # An API's own parameters are known to its SDK, which takes seconds to import. Calls with common parameters
            # only do not wait for that.
            for module in {each._module for each in others} - sys.modules.keys():
                await imported(module, plain=plain)
        self._tell(endpoint, others, call)

    def _tell(self, endpoint: Sibling, others: list[Sibling], call: Mapping[str, Any]) -> None:
        problems = []
        for each in others:
            try:
                each._could_take(**call)
            except ParameterError as error:
                problems.append(str(error))
        new = [each for each in sorted(problems) if each not in self._told]
        if not new:
            return
        self._told.update(new)
        warn_in_a_call(
            f"a call of endpoint {endpoint.name!r} cannot move on: {'; '.join(new)};"
            " give each endpoint what only it takes with params=",
            EndpointMismatchWarning,
        )
