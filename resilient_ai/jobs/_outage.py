"""How a job behaves while its provider does not answer: few calls, and no item given up."""

from __future__ import annotations

FIRST_WAIT = 1.0  # seconds
LONGEST_WAIT = 60.0
MANY_FAILURES = 5  # in a row, of any items, are an outage and not one item that times out each time
ASK_AGAIN = 1.0  # seconds after which an item looks again whether the one call of an outage has been answered


def backoff(failures: int, retry_after: float | None) -> float:
    """
    Seconds until an item is asked again.

    Args:
        failures: How often in a row it was refused; at least 1.
        retry_after: Seconds that the provider or a circuit asked to wait, or None.
    """
    return max(retry_after or 0.0, min(FIRST_WAIT * 2.0 ** min(failures - 1, 10), LONGEST_WAIT))


class Outage:
    """
    Whether items may be asked, of all items of one job.

    After some failures in a row one item at a time is asked, until one is answered.
    """

    def __init__(self) -> None:
        self._in_a_row = 0
        self._asked = False  # whether the one item is in flight
        self._resumes_at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until it is worth looking again; 0.0: the caller may ask, and must tell how it ended."""
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
        """An item was refused because the provider does not answer."""
        self._asked = False
        self._in_a_row += 1
        if self._in_a_row >= MANY_FAILURES and now >= self._resumes_at:
            self._resumes_at = now + backoff(self._in_a_row - MANY_FAILURES + 1, retry_after)

    def left(self) -> None:
        """An item ended in a way that says nothing about the provider."""
        self._asked = False
