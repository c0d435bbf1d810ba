"""The wait that a provider states with a refusal: which calls it holds, and how it ends if not meant for all."""

from __future__ import annotations

import math

from resilient_ai._core.clock import NEVER

_FIRST_PROBE_SECONDS = 1.0  # after the refusal; the time doubles for each later probe
_MANY = 10  # callers


class ProviderWait:
    """
    Holds all calls until the stated time, except for a few probes.

    A refusal by chance may state a wait of an hour, which would be an outage although other calls would be accepted. So
    any call that began after the refused one and was accepted ends the wait. Probes are sent to find out: soon if other
    calls were accepted shortly before, and otherwise when the wait holds many callers.

    Attributes:
        ends: When the stated wait is over.
        probed_at: When the latest probe was sent.
    """

    __slots__ = ("_held", "_pause", "_probe_at", "_refused_call_began", "ends", "probed_at")

    def __init__(self) -> None:
        self.ends = self.probed_at = NEVER
        self._probe_at = math.inf  # no probe
        self._pause = _FIRST_PROBE_SECONDS
        self._held = 0  # callers that have had to wait since then
        self._refused_call_began = math.inf

    def begin(self, now: float, seconds: float, began: float, *, probe: bool) -> None:
        """
        Hold all calls.

        Args:
            now: The time.
            seconds: The stated wait.
            began: When the refused call began.
            probe: Whether to probe soon.
        """
        self.ends = max(self.ends, now + seconds)
        self._refused_call_began = began
        self._held = 0
        self._pause = _FIRST_PROBE_SECONDS
        self._probe_at = now + self._pause if probe else math.inf

    def caller_held(self, now: float) -> None:
        """Note that one more caller has to wait."""
        self._held += 1
        if self._held == _MANY and self._probe_at == math.inf:
            self._probe_at = now

    def sent(self, now: float) -> None:
        """Record that a probe is sent."""
        self.probed_at = now
        self._probe_at = now + self._pause
        self._pause *= 2.0

    def seconds(self, now: float, next_at: float = NEVER) -> float:
        """Return the seconds until the next call may be sent; unless it is a probe, not before `next_at`."""
        return max(0.0, min(max(self.ends, next_at), self._probe_at) - now)

    def is_refuted_by(self, began: float) -> bool:
        """Return whether an accepted call that began then shows that the wait is not meant for all."""
        return began > self._refused_call_began
