"""
A quota that several processes share: what one of them asks for, and what it is granted.

Somebody else carries the questions to where the quota is kept; no call waits for that while it has units in stock.
"""

from __future__ import annotations

from typing import NamedTuple


class Units(NamedTuple):
    """So many requests, so many tokens."""

    requests: int = 0
    tokens: int = 0


class Numbers(NamedTuple):
    """
    The whole quota.

    Attributes:
        requests_per_minute: None where requests are not limited.
        tokens_per_minute: None where tokens are not limited.
        burst: Seconds of it that are kept for a rush.
        horizon: Seconds of it that may be promised before they are there.
    """

    requests_per_minute: float | None
    tokens_per_minute: float | None
    burst: float
    horizon: float


class Ask(NamedTuple):
    """
    What one process asks for and tells at the same time.

    Attributes:
        numbers: The quota as this process knows it.
        patience: Seconds that a caller in line will wait at most.
        queued: For the callers in line; what is not there yet may be promised.
        first: For the first of them alone; it is promised whenever that is within its patience.
        ahead: Before there are callers; only from what is there.
        back: Units not used; below 0, calls took more than had been thought.
        alone: Units used without asking, because the quota could not be asked.
        left: Units that the provider said are left; None where it did not say.
        share: Of the rate that is used, because the provider has little left; 1 otherwise.
        pause: Seconds that the provider asked to wait when it refused a call; None: it refused none.
        demand: Calls a second that come to this process: who has more callers than others is promised more.
        workers: Processes that share the quota.
    """

    numbers: Numbers
    patience: float = 0.0
    queued: Units = Units()
    first: Units = Units()
    ahead: Units = Units()
    back: Units = Units()
    alone: Units = Units()
    left: tuple[float | None, float | None] = (None, None)
    share: float = 1.0
    pause: float | None = None
    demand: float = 0.0
    workers: int = 1


class Grant(NamedTuple):
    """
    The answer to an `Ask`.

    Attributes:
        units: That may be used.
        wait: Seconds after which they may be; without units, seconds after which to ask again.
        factor: Share of the numbers that is used, lowered while the provider refuses calls.
        pause: Seconds for which nothing may be sent.
        free: Units that are there for anybody; below 0, they are promised already.
    """

    units: Units
    wait: float
    factor: float
    pause: float
    free: Units
