"""What several files of this folder need."""

from __future__ import annotations

from resilient_ai import Endpoint

US, EU = Endpoint("us"), Endpoint("eu")


class StatusError(Exception):
    """A reply's status and body, as SDK errors carry them."""

    def __init__(self, status: int, code: str = "", retry_after: float | None = None, message: str = "") -> None:
        super().__init__(code)
        self.status_code = status
        self.body = {"error": {"code": code, "message": message}}
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}
