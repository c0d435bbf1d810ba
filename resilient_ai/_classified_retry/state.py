"""The counts of one retry name, and the budget from which its retries are paid."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple, Protocol

from resilient_ai._core.counts import added, one_more
from resilient_ai._core.public import public
from resilient_ai._core.report import SuccessCount

from .budget import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_ai._core.errors import ErrorType

    from .budget import RetryBudget


@public("types")
class RetryCounts(NamedTuple):
    """
    The counts of a retry since it was made; `reset()` does not change them.

    Attributes:
        ok: Calls that were answered, at once or by a retry.
        failed: Calls that failed in the end.
        attempts: Times the function below was called for them.
        retries: Attempts after the first.
        recovered: Calls that a retry saved.
        errors: Failed attempts by error type.
    """

    ok: int
    failed: int
    attempts: int
    retries: int
    recovered: int
    errors: dict[str, int]


class HasWorkers(Protocol):
    """Knows how many processes share something, including this one."""

    @property
    def workers(self) -> int: ...


class RetryState:
    """
    The counts and the budget of one name. Thread-safe.

    Args:
        budget: Bounds the retries; None: no bound.
        now: The clock, in monotonic seconds.
        sharers: Knows how many processes share the budget.

    Attributes:
        good: Calls that succeeded at once.
        retries: Attempts after the first.
        recovered: Calls that a retry saved.
        given_up: Calls that failed in the end.
    """

    __slots__ = (
        "_bucket",
        "_budget",
        "_errors",
        "_now",
        "_paid_in",
        "_past",
        "_sharers",
        "given_up",
        "good",
        "lock",
        "recovered",
        "retries",
    )

    def __init__(self, budget: RetryBudget | None, now: Callable[[], float], sharers: HasWorkers) -> None:
        self._budget = budget
        self._sharers = sharers
        self._now = now
        self.lock = threading.RLock()  # reentrant: a signal handler may read the registry while its thread has it
        self.good = SuccessCount()
        self._past: RetryCounts | None = None  # the counts at the latest reset
        self._start()

    def clear(self) -> None:
        """Set the counts to zero, and fill the budget."""
        with self.lock:
            self._past = self._counts(self.good.take())
            self._start()

    def _start(self) -> None:
        # What good calls add to the budget is computed when a retry wants to take something out.
        self._paid_in = 0
        self.retries = self.recovered = self.given_up = 0
        self._errors: dict[str, int] | None = None  # made at the first failure, as the bucket is at the first retry
        self._bucket: Bucket | None = None

    def counts(self) -> RetryCounts:
        """The counts since it was made."""
        with self.lock:
            return self._counts(self.good.ok)

    def _counts(self, good: int) -> RetryCounts:
        ok, errors = good + self.recovered, self.errors
        latest = RetryCounts(ok, self.given_up, ok + sum(errors.values()), self.retries, self.recovered, errors)
        return latest if self._past is None else added((self._past, latest))

    def reconfigure(self, budget: RetryBudget | None) -> None:
        """Use another budget; the tokens that are left stay, up to its capacity."""
        with self.lock:
            now = self._now()
            before, self._budget = self._paid_bucket(now), budget
            if budget is None:
                self._bucket = None
            elif before is not None:
                before.change(budget, now)

    def attempt_failed(self, error_type: ErrorType) -> None:
        """Count a failed attempt."""
        with self.lock:
            self._errors = one_more(self._errors, error_type._value_)  # `value` is a property, which costs a call

    @property
    def errors(self) -> dict[str, int]:
        """Failed attempts by error type."""
        with self.lock:
            return dict(self._errors or ())

    def pay_for_retry(self, now: float, error_type: ErrorType) -> float | None:
        """Take the price of one retry out of the budget; returns the price, or None if the budget is too low."""
        with self.lock:
            price = 0.0
            if (bucket := self._paid_bucket(now)) is not None and self._budget is not None:
                price = self._budget.price_of(error_type)
                if not bucket.take(now, price):
                    return None
            self.retries += 1
            return price

    def call_recovered(self, price: float) -> None:
        """Refund the price of a retry that saved its call."""
        with self.lock:
            self.recovered += 1
            if self._bucket is not None:
                self._bucket.give_back(self._now(), price)

    def retry_abandoned(self, now: float, price: float) -> None:
        """Refund the price of a retry whose caller left during the wait."""
        with self.lock:
            self.retries -= 1
            self.refund(now, price)

    def refund(self, now: float, price: float) -> None:
        """Refund the price of a retry that was not sent after all."""
        with self.lock:
            if self._bucket is not None:
                self._bucket.give_back(now, price)

    def call_given_up(self) -> None:
        """Count a call that failed in the end."""
        with self.lock:
            self.given_up += 1

    def tokens(self) -> float | None:
        """Tokens left in the budget; None without a budget."""
        with self.lock:
            now = self._now()
            bucket = self._paid_bucket(now)
            return bucket.level(now) if bucket is not None else None

    def _paid_bucket(self, now: float) -> Bucket | None:
        """The bucket, with the tokens that good calls have added; None without a budget."""
        ok = self.good.ok
        if (budget := self._budget) is not None:
            bucket = self._bucket = self._bucket or Bucket(budget, now)  # a new bucket is full
            bucket.divide(self._sharers.workers, now)
            bucket.give_back(now, (ok - self._paid_in) * budget.per_success)
        self._paid_in = ok
        return self._bucket
