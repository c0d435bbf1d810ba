"""Chaos for users' tests: a share of the calls fails, repeatably."""

from __future__ import annotations

import pytest

from resilient_ai import ErrorType, circuit_breaker, classify
from resilient_ai.testing import InjectedError, chaos


async def outcomes(fn, calls: int = 40) -> list[str]:
    seen = []
    for _ in range(calls):
        try:
            seen.append(await fn())
        except Exception as error:
            seen.append(type(error).__name__)
    return seen


async def test_chaos_strikes_a_share_of_the_calls_and_repeats_with_its_seed():
    def make(seed: int):
        @chaos(0.5, errors=[ConnectionResetError, ErrorType.RATE_LIMIT], seed=seed)
        async def ask() -> str:
            return "pong"

        return ask

    first, again, other = await outcomes(make(1)), await outcomes(make(1)), await outcomes(make(2))

    assert first == again != other
    assert set(first) == {"pong", "ConnectionResetError", "InjectedError"}


async def test_chaos_raises_what_it_was_given_afresh_each_time():
    planted = OSError("planted")

    @chaos(1, errors=[planted])
    async def ask() -> None: ...

    @chaos(1, errors=[lambda: ValueError("made")])
    async def make() -> None: ...

    for _ in range(2):
        with pytest.raises(OSError, match="planted") as caught:
            await ask()
        assert caught.value is not planted
    with pytest.raises(ValueError, match="made"):
        await make()


async def test_an_injected_error_is_classified_as_what_it_stands_for():
    error = InjectedError(ErrorType.MODEL_OVERLOADED)

    assert classify(error).error_type is ErrorType.MODEL_OVERLOADED
    assert str(error) == "model_overloaded, injected by chaos"


async def test_chaos_can_only_be_late(registry, clock):
    @chaos(1, errors=(), delay=5, registry=registry)
    async def ask() -> str:
        return "pong"

    async with clock.autojump():
        assert await ask() == "pong"
    assert clock.now() == 5


@pytest.mark.parametrize("after", [0, 2])
async def test_chaos_ends_streams_after_some_items(after, registry, clock):
    @chaos(1, after_items=after, delay=1, registry=registry)
    async def count():
        for number in range(5):
            yield number

    seen = []
    async with clock.autojump():
        with pytest.raises(ConnectionResetError):
            async for number in count():
                seen.append(number)  # noqa: PERF401 - what came before the error is wanted

    assert seen == list(range(after))


async def test_chaos_that_never_strikes_changes_nothing():
    @chaos(0)
    async def count():
        """Count."""
        yield 1

    assert [number async for number in count()] == [1]
    assert count.__doc__ == "Count."


async def test_a_stack_stands_above_chaos(registry):
    @circuit_breaker(failure_threshold=1, registry=registry)
    @chaos(1)
    async def ask() -> None: ...

    with pytest.raises(ConnectionResetError):
        await ask()

    (breaker,) = registry.circuit_breakers.values()
    assert breaker.state == "open"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 2}, "rate must be a number of at least 0 up to 1, got 2"),
        ({"rate": 1, "delay": -1}, "delay must be a number of at least 0, got -1"),
        ({"rate": 1, "after_items": 0.5}, "after_items must be an integer of at least 0, got 0.5"),
        (
            {"rate": 1, "errors": ["boom"]},
            "errors takes exceptions, functions that make one and",
        ),
    ],
    ids=str,
)
def test_chaos_refuses_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        chaos(**settings)


def test_chaos_refuses_plain_functions():
    with pytest.raises(TypeError, match=r"@chaos needs an async function, got .*plain"):

        @chaos(1)
        def plain() -> None: ...
