"""The error of a caller that comes when the hour's money or tokens are spent."""

from __future__ import annotations

from resilient_ai._core.errors import ErrorType, ResilienceError
from resilient_ai._core.public import public

from .hour import Unit, amount


@public()
class SpendLimitReachedError(ResilienceError):
    """
    The limit of an hour is reached; the provider was not asked, and no endpoint is to blame.

    Attributes:
        name: The spend limit.
        spent: USD or tokens spent in the last hour.
        limit: Most USD or tokens in an hour.
        unit: "usd" or "tokens".
        retry_after: Seconds until enough of it is more than an hour ago.
    """

    error_type = ErrorType.QUOTA_EXCEEDED

    def __init__(self, name: str, *, spent: float, limit: float, unit: Unit, retry_after: float) -> None:
        super().__init__(
            f"spend limit {name!r} is reached: {amount(spent, unit)} of {amount(limit, unit)} in the last hour;"
            f" there is room again in {retry_after:.0f} s"
        )
        self.name = name
        self.spent = spent
        self.limit = limit
        self.unit = unit
        self.retry_after = retry_after
