"""What users of `@circuit_breaker` can rely on."""

from __future__ import annotations

import pytest

from resilient_ai import CircuitOpenError, CircuitState, circuit_breaker


async def test_it_opens_at_the_threshold_and_then_does_not_call(registry, clock):
    calls = 0

    @circuit_breaker("openai", failure_threshold=2, registry=registry)
    async def ask() -> None:
        nonlocal calls
        calls += 1
        raise OSError("down")

    for _ in range(2):
        with pytest.raises(OSError, match="down"):
            await ask()
    with pytest.raises(CircuitOpenError, match=r"'openai' is open; next probe allowed in 60\.0 s") as caught:
        await ask()

    assert calls == 2
    assert isinstance(caught.value.__cause__, OSError)
    assert registry.circuit_breakers["openai"].state is CircuitState.OPEN
