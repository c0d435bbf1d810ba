"""Whether the other endpoints of a failover could take the same call, found out before an outage needs them."""

from __future__ import annotations

import importlib
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol

from resilient_ai._core.call_warnings import warn_in_a_call
from resilient_ai._core.errors import EndpointMismatchWarning, ParameterError

_MOST = 100  # kinds of calls that are compared for one endpoint


class Sibling(Protocol):
    """What is asked of an endpoint here."""

    name: str
    _module: ClassVar[str]

    @property
    def _could_take(self) -> Callable[..., None]: ...


class Siblings:
    """The endpoints that stand beside one in failovers, and the kinds of calls that were held against them."""

    __slots__ = ("_compared", "_others", "_told")

    def __init__(self) -> None:
        self._others: weakref.WeakSet[Sibling] = weakref.WeakSet()
        self._compared: set[frozenset[str]] = set()
        self._told: set[str] = set()

    def meet(self, others: Iterable[Sibling]) -> None:
        """A failover has these too."""
        self._others.update(others)
        self._compared.clear()

    def compare(self, endpoint: Sibling, call: Mapping[str, Any]) -> None:
        """
        Hold the first call of its kind against the others; what one of them cannot take is warned of, nothing is sent.

        Args:
            endpoint: That was asked.
            call: What it was asked, by parameter.
        """
        if not self._others:
            return
        kind = frozenset([name for name, value in call.items() if value is not None])
        if kind in self._compared or len(self._compared) >= _MOST:
            return
        self._compared.add(kind)
        others = [each for each in self._others if each is not endpoint]
        known = [each for each in others if each._module in sys.modules]
        self._tell(endpoint, known, call)
        if unknown := [each for each in others if each not in known]:
            # Imports of SDKs take seconds, which this call should not wait for.
            threading.Thread(
                target=self._import_and_tell, args=(endpoint, unknown, dict(call)), name="resilient_ai", daemon=True
            ).start()

    def _import_and_tell(self, endpoint: Sibling, others: list[Sibling], call: dict[str, Any]) -> None:
        for each in others:
            try:
                importlib.import_module(each._module)
            except ImportError:
                continue
            self._tell(endpoint, [each], call)

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
