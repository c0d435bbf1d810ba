"""The behaviour of a job during an outage: few calls, and no item is given up."""

from __future__ import annotations

FIRST_WAIT = 1.0  # seconds
LONGEST_WAIT = 60.0
MANY_FAILURES = 5  # so many failures in a row, of any items, count as an outage
ASK_AGAIN = 1.0  # seconds between two checks of a waiting item during an outage


def backoff(failures: int, retry_after: float | None) -> float:
    """
    Seconds until the next call for an item.

    Args:
        failures: How often in a row it was refused; at least 1.
        retry_after: Seconds that the provider or a circuit asked to wait, or None.
    """
    return max(retry_after or 0.0, min(FIRST_WAIT * 2.0 ** min(failures - 1, 10), LONGEST_WAIT))


class Outage:
    """
    Decides whether calls may be made, for all items of one job.

    After some failures in a row only one call at a time is made, until one is answered.
    """

    def __init__(self) -> None:
        self._in_a_row = 0
        self._asked = False  # whether that one call is in flight
        self._resumes_at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next check; 0.0: the caller may make its call, and must report the outcome."""
        if self._in_a_row < MANY_FAILURES:
            return 0.0
        if now < self._resumes_at:
            return self._resumes_at - now
        if self._asked:
            return ASK_AGAIN
        self._asked = True
        return 0.0

    def answered(self) -> None:
        self._in_a_row, self._asked = 0, False

    def refused(self, now: float, retry_after: float | None) -> None:
        """Take in that a call was refused because the provider does not answer."""
        self._asked = False
        self._in_a_row += 1
        if self._in_a_row >= MANY_FAILURES and now >= self._resumes_at:
            self._resumes_at = now + backoff(self._in_a_row - MANY_FAILURES + 1, retry_after)

    def left(self) -> None:
        """Take in that a call ended in a way that tells nothing about the provider."""
        self._asked = False
