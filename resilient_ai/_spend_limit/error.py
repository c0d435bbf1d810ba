"""The error of a caller who comes when the hour's money is spent."""

from __future__ import annotations

from resilient_ai._core.errors import ErrorType, ResilienceError
from resilient_ai._core.public import public

from .hour import Unit, amount


@public()
class SpendLimitReachedError(ResilienceError):
    """
    What may be spent in an hour is spent; the provider was not asked, and it is no endpoint's fault.

    Attributes:
        name: The spend limit.
        spent: USD or tokens of the last hour.
        limit: USD or tokens that an hour may take.
        unit: "usd" or "tokens".
        retry_after: Seconds until so much of it is an hour ago that there is room again.
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
