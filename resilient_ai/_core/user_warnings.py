"""Warnings that point to the user's line."""

from __future__ import annotations

import sys
import warnings


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line outside this package that caused it."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "resilient_ai":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
