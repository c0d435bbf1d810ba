"""What several files of this folder need."""

from __future__ import annotations

from typing import Any

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


class DrivenCircuit(CircuitBreaker):
    """A circuit in a test's hand: what a person may do with it, and what a policy does with each call."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shared, name)


def driven(breaker: CircuitBreaker) -> DrivenCircuit:
    same = DrivenCircuit.__new__(DrivenCircuit)
    same._shared = breaker._shared
    return same


def handle(registry: Registry, **settings: object) -> DrivenCircuit:
    return DrivenCircuit("openai", CircuitConfig(**settings), registry)


def fail_once(breaker: DrivenCircuit, now: float) -> None:
    breaker.failed(breaker.admit(now), now, 0.1, OSError("down"), FAULT)
