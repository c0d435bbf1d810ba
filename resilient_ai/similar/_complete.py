"""Whether an answer is whole: it ended well, and there is something in it."""

from __future__ import annotations

from typing import Any

from resilient_ai._degrade_to.complete import ended_well


def is_whole(answer: Any) -> bool:
    """Whether an answer says that it ended well, and is no empty container."""
    return ended_well(answer) and not (isinstance(answer, list | tuple | dict | set) and not answer)
