"""Decide the fault of the next request: from a script, scheduled outages, random faults. No server, no clock."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resilient_ai._core.public import public

from ._apis.answers import FakeAnswer
from ._faults import Fault, as_fault

if TYPE_CHECKING:
    from typing import Self

AnyFault = Fault | FakeAnswer | str | int


@public("testing")
@dataclass(slots=True, eq=False)
class Outage:
    """A period in which every request gets the same fault; as a context manager it ends with the block."""

    fault: AnyFault
    start: float
    end: float
    _recover: Callable[[Outage], None] = field(repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.recover()

    def recover(self) -> None:
        """End this outage now. May be called twice."""
        self._recover(self)


class Trouble:
    """The planned faults of one provider."""

    def __init__(self) -> None:
        self._script: deque[AnyFault | None] = deque()
        self._outages: list[Outage] = []
        self._flaky: tuple[float, tuple[AnyFault, ...], random.Random] | None = None

    def script(self, faults: tuple[AnyFault, ...]) -> None:
        for fault in faults:
            if fault != "ok":
                as_fault(fault)
        self._script.extend(None if fault == "ok" else fault for fault in faults)

    def outage(self, fault: AnyFault, now: float, after: float, seconds: float | None) -> Outage:
        as_fault(fault)
        if not after >= 0 or (seconds is not None and not seconds >= 0):
            raise ValueError(f"an outage takes times of at least 0 seconds, got after={after!r}, seconds={seconds!r}")
        start = now + after
        planned = Outage(fault, start, math.inf if seconds is None else start + seconds, self._end)
        self._outages.append(planned)
        return planned

    def flaky(self, rate: float, faults: tuple[AnyFault, ...], seed: int) -> None:
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must be from 0 to 1, got {rate!r}")
        for fault in faults:
            as_fault(fault)
        self._flaky = (rate, faults or ("overloaded",), random.Random(seed))  # noqa: S311 - repeatable on purpose

    def recover(self) -> None:
        self._script.clear()
        self._outages.clear()
        self._flaky = None

    def strike(self, now: float, *, scripted: bool, api: str) -> Fault | None:
        """
        The fault of one request, or None.

        Args:
            now: Seconds on the clock of the outages.
            scripted: Whether the request takes an entry of the script.
            api: The provider whose reply a name without a provider means.
        """
        fault = self._choose(now, scripted=scripted)
        return None if fault is None else as_fault(fault, api=api)

    def _choose(self, now: float, *, scripted: bool) -> AnyFault | None:
        if scripted and self._script:
            return self._script.popleft()
        for outage in self._outages:
            if outage.start <= now < outage.end:
                return outage.fault
        if self._flaky is not None:
            rate, faults, rng = self._flaky
            if rng.random() < rate:
                return rng.choice(faults)
        return None

    def _end(self, outage: Outage) -> None:
        if outage in self._outages:
            self._outages.remove(outage)
