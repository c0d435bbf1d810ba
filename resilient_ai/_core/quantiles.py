"""The one way in which this package rounds a quantile."""

from __future__ import annotations

import math
from collections.abc import Iterable


def quantile(values: Iterable[float], share: float) -> float | None:
    """
    The smallest of the values that at least this share of them does not exceed (nearest rank); None without any.

    Args:
        values: In any order.
        share: Above 0, at most 1.
    """
    ranked = sorted(values)
    return ranked[math.ceil(share * len(ranked)) - 1] if ranked else None
