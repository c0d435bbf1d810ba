"""Parts for users' tests: chaos, and fixtures that pytest finds by itself."""

from __future__ import annotations

import asyncio  # noqa: TID251 - what its loop is asked for is counted
import gc
import subprocess
import sys
import weakref

import anyio
import pytest
from anyio.lowlevel import checkpoint

from resilient_ai import ErrorType, circuit_breaker, classify
from resilient_ai.testing import InjectedError, VirtualClock, capture_events, chaos, isolated_registry
from tests.helpers import work_of


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


async def test_what_is_raised_under_autojump_comes_out_as_it_is(clock):
    with pytest.raises(LookupError, match="planted"):
        async with clock.autojump():
            raise LookupError("planted")


async def test_a_wait_in_virtual_time_costs_the_same_beside_many_others():
    async def hurry(callers: int) -> float:
        clock = VirtualClock()

        async def caller(number: int) -> None:
            with clock.move_on_after(30):
                await clock.sleep(number % 7)
                await checkpoint()

        async def all_of_them() -> None:
            async with clock.autojump(), anyio.create_task_group() as tasks:
                for number in range(callers):
                    tasks.start_soon(caller, number)

        return await work_of(all_of_them) / callers

    assert await hurry(1_600) < 1.3 * await hurry(400)  # calls of functions


def test_on_asyncio_a_jump_takes_no_real_time():
    class Loop(asyncio.SelectorEventLoop):
        timers = 0

        def call_at(self, *args, **kwargs):
            self.timers += 1
            return super().call_at(*args, **kwargs)

    async def main() -> int:
        clock = VirtualClock()
        async with clock.autojump():
            for _ in range(50):
                await clock.sleep(1)
                await checkpoint()  # still at work one turn after it was woken
        return asyncio.get_running_loop().timers

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(main()) == 0


async def test_time_jumps_while_a_cancelled_task_cleans_up(clock):
    async def task() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await clock.sleep(60)

    async with clock.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(task)
        await clock.sleep(1)
        tasks.cancel_scope.cancel()

    assert clock.now() == 61


async def test_a_deadline_that_is_over_is_forgotten_although_the_time_stands_still(clock):
    for _ in range(200):
        with clock.move_on_after(30) as scope:
            await checkpoint()
    gone = weakref.ref(scope)
    del scope
    gc.collect()

    assert gone() is None
    assert repr(clock) == "VirtualClock(now=0, waiting=0)"


async def test_inside_an_isolated_registry_decorators_use_that_one():
    with isolated_registry() as registry, capture_events() as events:

        @circuit_breaker("inside", failure_threshold=1)
        async def ask() -> None:
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await ask()

        assert list(registry.circuit_breakers) == ["inside"]
    assert [event.name for event in events] == ["inside"]


FIXTURES = """
import pytest, httpx2
from resilient_ai import circuit_breaker, registry

pytestmark = pytest.mark.anyio

async def test_fixtures(fake_provider, virtual_clock, captured_events, resilient_registry):
    @circuit_breaker(failure_threshold=1, recovery_timeout=60)
    async def ask():
        async with httpx2.AsyncClient() as client:
            reply = await client.post(f"{fake_provider.url}/complete", json={"prompt": "hi"})
            return reply.raise_for_status().json()["content"]

    fake_provider.script(503)
    with pytest.raises(httpx2.HTTPStatusError):
        await ask()
    virtual_clock.advance(60)
    assert await ask() == "[fake] hi"
    assert [type(event).__name__ for event in captured_events] == ["CircuitOpened", "CircuitHalfOpened"]
    assert "ask" in repr(resilient_registry)
    assert "ask" not in repr(registry)
"""


def test_the_plugin_gives_fixtures_and_costs_nothing_until_one_is_used(tmp_path):
    (tmp_path / "test_it.py").write_text(FIXTURES)
    pytest_ = [sys.executable, "-m", "pytest", "-p", "_resilient_ai_pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([*pytest_, str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path)
    cost = subprocess.run(
        [sys.executable, "-c", "import sys, _resilient_ai_pytest; sys.exit('resilient_ai' in sys.modules)"], check=False
    )

    assert "2 passed" in done.stdout or "3 passed" in done.stdout, done.stdout
    assert cost.returncode == 0
