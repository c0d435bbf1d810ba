"""Any two policies in both orders, all five in every order, cancelled anywhere, in several loops and threads."""

from __future__ import annotations

import itertools
import random
import threading
import warnings

import anyio
import pytest
from anyio.lowlevel import checkpoint

from resilient_ai import (
    AIServiceError,
    Endpoint,
    ErrorType,
    LastAnswer,
    Registry,
    RetryRule,
    StackOrderWarning,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    describe,
    failover,
    rate_limit,
)
from resilient_ai.testing import InjectedError, chaos

FIVE = ("degrade_to", "batched", "classified_retry", "failover", "circuit_breaker")
ALL = (*FIVE, "rate_limit", "adaptive_limit")
QUICKLY = {ErrorType.MODEL_OVERLOADED: RetryRule(max_retries=2, base_delay=0.05, max_delay=0.05)}
US, EU = Endpoint("us"), Endpoint("eu")


def decorator(kind: str, above: tuple[str, ...], registry: Registry):
    later = ["later"] if "batched" in above else "later"  # below a batch, an answer is a list
    return {
        "degrade_to": lambda: degrade_to(later, registry=registry),
        "batched": lambda: batched(batch_timeout=0.01, registry=registry),
        "classified_retry": lambda: classified_retry(rules=QUICKLY, registry=registry),
        "failover": lambda: failover(US, EU, strategy="priority", registry=registry),
        "circuit_breaker": lambda: circuit_breaker(registry=registry),
        "rate_limit": lambda: rate_limit(requests_per_minute=6e6, tokens_per_minute=6e9, registry=registry),
        "adaptive_limit": lambda: adaptive_limit(registry=registry),
    }[kind]()


def stacked(kinds: tuple[str, ...], registry: Registry, fails: dict[str, int] | None = None):
    """A function that answers its prompt under these policies, outermost first; endpoints fail as often as told."""
    left = dict(fails or {})

    async def answer(endpoint: Endpoint | None, prompt):
        await checkpoint()
        name = endpoint.name if endpoint is not None else "us"
        if left.get(name, 0) > 0:
            left[name] -= 1
            raise InjectedError(ErrorType.MODEL_OVERLOADED)
        return prompt

    if "failover" in kinds:

        async def ask(endpoint, prompt):
            return await answer(endpoint, prompt)
    else:

        async def ask(prompt):
            return await answer(None, prompt)

    fn = ask
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackOrderWarning)
        for number, kind in reversed([*enumerate(kinds)]):
            fn = decorator(kind, kinds[:number], registry)(fn)
    return fn


@pytest.mark.parametrize("kinds", list(itertools.permutations(ALL, 2)), ids=" over ".join)
async def test_any_two_work_in_both_orders(kinds, registry, clock):
    ask = stacked(kinds, registry)
    async with clock.autojump():
        answers = [await ask("one"), await ask("two")]

    assert answers == ["one", "two"]
    assert [layer.kind for layer in describe(ask).layers] == list(kinds)


@pytest.mark.parametrize("kinds", list(itertools.permutations(ALL, 2)), ids=" over ".join)
async def test_any_two_survive_what_one_of_them_answers_for(kinds, registry, clock):
    """The first endpoint is overloaded once: whoever retries, moves on or degrades answers, else the error comes."""
    ask = stacked(kinds, registry, {"us": 1})
    async with clock.autojump():
        try:
            answer = await ask("one")
        except InjectedError as error:
            answer = error.error_type

    if {"classified_retry", "failover"} & set(kinds):
        outer, inner = kinds
        hidden = inner == "degrade_to" and outer in ("classified_retry", "failover")
        assert answer == ("later" if hidden else "one")
    else:
        assert answer == ("later" if "degrade_to" in kinds else ErrorType.MODEL_OVERLOADED)


def test_all_five_answer_in_every_order():
    async def ask_all() -> None:
        for kinds in itertools.permutations(FIVE):
            registry = Registry(listeners=())
            ask = stacked(kinds, registry)
            with anyio.fail_after(5):
                assert await ask("one") == "one", kinds

    anyio.run(ask_all)


async def test_the_recommended_order_warns_of_nothing(registry):
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @degrade_to("later", registry=registry)
        @batched(registry=registry)
        @classified_retry(registry=registry)
        @failover(US, EU, registry=registry)
        @rate_limit(requests_per_minute=60, registry=registry)
        @circuit_breaker(registry=registry)
        @adaptive_limit(registry=registry)
        async def ask(endpoint: Endpoint, prompts: list[str]) -> list[str]:
            return prompts

    assert [layer.kind for layer in describe(ask).layers] == [
        *FIVE[:-1],
        "rate_limit",
        "circuit_breaker",
        "adaptive_limit",
    ]


async def test_an_overload_of_everything_runs_through_the_whole_stack(registry, clock):
    ask = stacked(ALL, registry, {"us": 100, "eu": 100})
    async with clock.autojump():
        assert await ask("one") == "later"

    stats = registry.stats()
    assert stats["degrade_to"][ask.__qualname__].degraded == 1
    assert stats["classified_retry"][ask.__qualname__].given_up == 1
    assert registry.error_stats()["total_errors"] > 1


async def test_without_a_fallback_the_error_names_every_endpoint(registry, clock):
    ask = stacked(ALL[1:], registry, {"us": 100, "eu": 100})
    async with clock.autojump():
        with pytest.raises(AIServiceError) as caught:
            await ask("one")

    assert set(caught.value.original_error.errors) == {"us", "eu"}


@pytest.mark.parametrize("callers", [1, 3])
@pytest.mark.parametrize("fails", [{}, {"us": 1}, {"us": 9, "eu": 9}], ids=["well", "one overload", "outage"])
async def test_cancelled_at_any_await_a_stack_gives_back_what_it_held(registry, clock, callers, fails):
    """Cancel after 0, 1, 2, … steps of the loop; whatever the call was doing, the next caller finds nothing taken."""
    cancelled = 0
    for steps in range(400):
        ask = stacked(ALL, own := Registry(clock=clock, rng=random.Random(1), listeners=()), fails)
        answers: list[str] = []

        async def call(ask=ask, answers=answers) -> None:
            answers.append(await ask("one"))

        async with anyio.create_task_group() as tasks:
            for _ in range(callers):
                tasks.start_soon(call)
            for _ in range(steps):
                await checkpoint()
                clock.advance(0.005)
            tasks.cancel_scope.cancel()
        if len(answers) == callers:  # there was nothing left to cancel
            break
        cancelled += 1
        for _ in range(10):  # a batch that several shared ends in a task of its own
            await checkpoint()
        for kind, held in (
            ("rate_limit", "waiting"),
            ("adaptive_limit", "in_flight waiting"),
            ("batched", "in_flight queue_size"),
            ("endpoint", "in_flight"),
            ("circuit_breaker", "probes_in_flight"),
        ):
            for name, stats in own.stats()[kind].items():
                assert {each: getattr(stats, each) for each in held.split()} == dict.fromkeys(held.split(), 0), name
        async with clock.autojump():
            assert await ask("two") in ("two", "later")

    assert len(answers) == callers
    assert cancelled >= 3


def test_one_stack_serves_event_loops_after_one_another():
    ask = stacked(ALL, registry := Registry(listeners=()), {"us": 1})

    async def several() -> list[str]:
        answers: list[str] = []

        async def one(number: int) -> None:
            answers.append(await ask(f"prompt {number}"))

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(one, number)
        return sorted(answers)

    expected = sorted(f"prompt {number}" for number in range(20))

    assert [anyio.run(several, backend=backend) for backend in ("asyncio", "trio", "asyncio")] == [expected] * 3
    assert registry.stats()["batched"][ask.__qualname__].total_requests == 60


def test_one_stack_serves_two_threads_at_once():
    ask = stacked(ALL, registry := Registry(listeners=()))
    answers: list[str] = []

    async def several(name: str) -> None:
        async def one(number: int) -> None:
            answers.append(await ask(f"{name} {number}"))

        for _ in range(10):
            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(one, number)

    threads = [
        threading.Thread(target=anyio.run, args=(several, backend), kwargs={"backend": backend})
        for backend in ("asyncio", "trio")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    expected = [f"{name} {number}" for name in ("asyncio", "trio") for number in range(20)] * 10
    assert sorted(answers) == sorted(expected)
    assert registry.stats()["degrade_to"][ask.__qualname__].calls == 400


async def test_under_chaos_every_call_is_answered_and_the_numbers_add_up(registry, clock):
    struck = [ErrorType.MODEL_OVERLOADED, ErrorType.RATE_LIMIT, ConnectionResetError, TimeoutError]

    @degrade_to(LastAnswer(), "later", registry=registry)
    @batched(batch_size=5, batch_timeout=0.05, registry=registry)
    @classified_retry(max_attempts=3, registry=registry)
    @failover(US, EU, registry=registry)
    @circuit_breaker(failure_threshold=4, recovery_timeout=5, registry=registry)
    @chaos(0.4, errors=struck, delay=0.2, seed=3, registry=registry)
    async def ask(endpoint: Endpoint, prompts: list[str]) -> list[str]:
        return [prompt.upper() for prompt in prompts]

    answers: list[tuple[str, str]] = []

    async def one(prompt: str) -> None:
        answers.append((prompt, await ask(prompt)))

    async with clock.autojump():
        for number in range(40):
            async with anyio.create_task_group() as tasks:
                for prompt in ("a", "b", f"c{number}"):
                    tasks.start_soon(one, prompt)

    assert len(answers) == 120
    assert all(answer in (prompt.upper(), "later") for prompt, answer in answers)
    assert sum(answer != "later" for _, answer in answers) > 90
    stats = registry.degradations[ask.__qualname__].stats()
    assert stats.calls == 120
    assert registry.batches[ask.__qualname__].stats().total_requests == 120
