"""Whether an answer is complete: it ended well and is not empty."""

from __future__ import annotations

from typing import Any

from resilient_ai._degrade_to.complete import ended_well


def is_whole(answer: Any) -> bool:
    """Whether an answer ended well and is not an empty container."""
    return ended_well(answer) and not (isinstance(answer, list | tuple | dict | set) and not answer)
