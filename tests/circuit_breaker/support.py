"""What several files of this folder need."""

from __future__ import annotations

import pytest

from resilient_ai import ErrorType, Registry
from resilient_ai._circuit_breaker.config import CircuitConfig
from resilient_ai._classification.verdict import verdict
from resilient_ai.types import CircuitBreaker


async def fail(ask, times, error=OSError):
    for _ in range(times):
        with pytest.raises(error):
            await ask()


FAULT = verdict(ErrorType.INTERNAL_ERROR)


def handle(registry: Registry, **settings: object) -> CircuitBreaker:
    return CircuitBreaker("openai", CircuitConfig(**settings), registry)


def fail_once(breaker: CircuitBreaker, now: float) -> None:
    breaker.failed(breaker.admit(now), now, 0.1, OSError("down"), FAULT)
