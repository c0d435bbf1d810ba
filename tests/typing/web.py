"""What web applications call: the status of an error, and streams that have begun."""

from collections.abc import AsyncGenerator
from typing import assert_type

from resilient_ai import circuit_breaker
from resilient_ai.web import http_status, started


@circuit_breaker("pieces")
async def pieces(topic: str) -> AsyncGenerator[str, None]:
    yield topic


async def stream() -> AsyncGenerator[int, None]:
    async def numbers() -> AsyncGenerator[int, None]:
        yield 1

    return numbers()


async def use(error: Exception) -> None:
    assert_type(http_status(error), tuple[int, dict[str, str]])
    async with await started(pieces("snow")) as begun:
        async for piece in begun:
            assert_type(piece, str)
    async for number in await started(stream()):
        assert_type(number, int)
    await started(["a"])  # type: ignore[arg-type]
