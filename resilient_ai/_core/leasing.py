"""
Questions and grants about a quota that several processes share.

A separate task sends the questions to the server of the quota; no call waits for that while there are units in stock.
"""

from __future__ import annotations

from typing import NamedTuple


class Units(NamedTuple):
    """Numbers of requests and tokens."""

    requests: int = 0
    tokens: int = 0


class Numbers(NamedTuple):
    """
    The whole quota.

    Attributes:
        requests_per_minute: Limit of requests; None if requests are not limited.
        tokens_per_minute: Limit of tokens; None if tokens are not limited.
        burst: Seconds of the quota that are held for a burst.
        horizon: Seconds of the quota that may be promised in advance.
    """

    requests_per_minute: float | None
    tokens_per_minute: float | None
    burst: float
    horizon: float


class Ask(NamedTuple):
    """
    What one process asks for and reports in one message.

    Attributes:
        numbers: The quota, as configured in this process.
        patience: Most seconds that a queued caller will wait.
        queued: Units for the queued callers; missing ones may be promised.
        first: Units for the first of them only; they are promised if they come within its patience.
        ahead: Units for the stock; granted only if they are available.
        back: Unused units to give back; negative if calls took more than estimated.
        alone: Units used while the server could not be asked.
        left: Units that the provider said are left; None if it did not say.
        share: Share of the rate to use, below 1 if the provider has little left.
        pause: Seconds that the provider asked to wait when it refused a call; None if it refused none.
        demand: Calls a second that come to this process; a process with more calls is promised more.
        workers: Number of processes that share the quota.
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
        units: Units that may be used.
        wait: Seconds after which they may be used; without units, seconds after which to ask again.
        factor: Share of the limits that is used, lowered while the provider refuses calls.
        pause: Seconds for which nothing may be sent.
        free: Units that are available to any process; negative if more are promised than available.
    """

    units: Units
    wait: float
    factor: float
    pause: float
    free: Units
