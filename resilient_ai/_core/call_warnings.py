"""Warnings that are due while a call runs: they never break it."""

from __future__ import annotations

from .log import log
from .user_warnings import warn


def warn_in_a_call(message: str, category: type[Warning]) -> None:
    """Warn as usual; where a filter makes the warning an error, log it, because the call has done nothing wrong."""
    try:
        warn(message, category)
    except category:
        log("warning", "resilient_ai.warning", category=category.__name__, text=message)
