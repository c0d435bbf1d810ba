"""What several files of this folder need."""

from __future__ import annotations

from contextvars import ContextVar

from resilient_ai import NO_ANSWER
from resilient_ai.types import Recalled


def failing(error=None):
    """An async function that fails the same way at every call."""
    error = error if error is not None else OSError("down")

    async def ask(*args, **kwargs):
        raise error

    return ask


class Shelf:
    """A rung with a memory, as a user would write one."""

    def __init__(self):
        self.kept = []

    def recall(self, call):
        return self.kept[-1] if self.kept else NO_ANSWER

    def remember(self, call, answer):
        self.kept.append(answer)


tenant: ContextVar[str] = ContextVar("tenant")


def lambda_async(result):
    async def ask(*args):
        return result

    return ask


class Cached:
    def recall(self, call):
        return Recalled("text", similarity=0.9, age=3.0)
