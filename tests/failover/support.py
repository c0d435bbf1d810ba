"""What several files of this folder need."""

from __future__ import annotations

import anyio

from resilient_ai import Endpoint

US, EU, AP = Endpoint("us"), Endpoint("eu"), Endpoint("ap")


class RefusalError(Exception):
    """What an SDK raises for a status."""

    def __init__(self, status: int, retry_after: float | None = None, code: str = "") -> None:
        super().__init__(code)
        self.status_code = status
        self.body = {"error": {"code": code}} if code else None
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}


class Regions:
    """Scripted endpoints: what each name raises, and who was asked."""

    def __init__(self) -> None:
        self.faults: dict[str, BaseException] = {}
        self.asked: list[str] = []

    async def __call__(self, endpoint, prompt: str = "hi") -> str:
        self.asked.append(endpoint.name)
        await anyio.lowlevel.checkpoint()
        if endpoint.name in self.faults:
            raise self.faults[endpoint.name]
        return f"{endpoint.name}: {prompt}"

    def was_asked(self) -> list[str]:
        asked, self.asked = self.asked, []
        return asked
