"""The quantile, as this package rounds it everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable


def quantile(values: Iterable[float], share: float) -> float | None:
    """
    The smallest value that at least this share of all values does not exceed (nearest rank); None without values.

    Args:
        values: The values, in any order.
        share: Above 0, at most 1.
    """
    ranked = sorted(values)
    return ranked[math.ceil(share * len(ranked)) - 1] if ranked else None
