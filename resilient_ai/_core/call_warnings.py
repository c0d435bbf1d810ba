"""Warnings issued while a call runs, which never break the call."""

from __future__ import annotations

from .log import log
from .user_warnings import warn


def warn_in_a_call(message: str, category: type[Warning]) -> None:
    """Warn as usual; if a filter turns the warning into an error, log it, because the call itself is fine."""
    try:
        warn(message, category)
    except category:
        log("warning", "resilient_ai.warning", category=category.__name__, text=message)
