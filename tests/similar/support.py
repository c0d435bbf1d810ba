"""What several files of this folder need."""

from __future__ import annotations

ANSWER = "Open Settings, then Security, and choose Reset."


class Provider:
    """Answers until it is down."""

    def __init__(self, answer=ANSWER):
        self.answer = answer
        self.down = False

    async def __call__(self, question: str, *, language: str = "en", tenant: str = "acme"):
        if self.down:
            raise OSError("connection refused")
        return self.answer


LATER = "Please try again later"
