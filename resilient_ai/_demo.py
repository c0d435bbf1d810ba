"""A complete outage with real SDKs and providers on this machine; every decision is printed as it is made."""

from __future__ import annotations

import inspect
import textwrap
import time
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any

import anyio

from resilient_ai import (
    ErrorType,
    Registry,
    RetryRule,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
    first_sentences,
)
from resilient_ai.events import (
    BatchSent,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Degraded,
    EndpointDown,
    EndpointUp,
    Event,
    FailedOver,
    RetriesExhausted,
    RetryScheduled,
)
from resilient_ai.providers import AnthropicEndpoint, OpenAIEndpoint, ProviderEndpoint
from resilient_ai.similar import SimilarAnswers
from resilient_ai.testing import FakeProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._core.coroutine_type import CoroutineOf

TRAINS = "Heavy rain stopped the trains to the coast on Monday. Buses replaced them until noon."
TRAINS_AGAIN = "Heavy rain stopped the trains to the coast on Monday! Buses replaced them, until noon."
LIBRARY = "The town library stays open until midnight from May on. Students had asked for it."
BRIDGE = "The old bridge will be closed for two weeks. It needs new bearings."
MARKET = "The Saturday market moves to the harbour. There is more room for stalls."

summarize: Callable[[str], CoroutineOf[Any, Any, str]]


def decorate(
    registry: Registry, memory: SimilarAnswers, us: ProviderEndpoint, eu: ProviderEndpoint, claude: ProviderEndpoint
) -> None:
    """Make the decorated function that the demo is about."""
    global summarize  # global, so that the table shows its bare name

    # --8<--
    @degrade_to(memory, first_sentences(1), mark="prefix", registry=registry)
    @batched(batch_size=4, batch_timeout=0.05, registry=registry)
    @classified_retry(rules={ErrorType.MODEL_OVERLOADED: RetryRule(1, 0.3, 1.0, jitter="none")}, registry=registry)
    @failover(us, eu, claude, strategy="priority", health_check_interval=1.0, registry=registry)
    @circuit_breaker(failure_threshold=2, recovery_timeout=1.0, success_threshold=1, registry=registry)
    async def summarize(endpoint: ProviderEndpoint, texts: list[str]) -> list[str]:
        prompt = "Summarize each line in one sentence:\n" + "\n".join(texts)
        return (await endpoint.complete(prompt)).splitlines()

    # --8<--


def run() -> int:
    """Play the demo; returns the exit status."""
    anyio.run(_play)
    return 0


class _Teller:
    """Prints what happens, with the seconds since the last headline."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._scenes = 0

    def scene(self, headline: str) -> None:
        self._scenes += 1
        print(f"\n{self._scenes}. {headline}")
        self._since = time.monotonic()

    def line(self, who: str, what: str) -> None:
        print(f"   {time.monotonic() - self._since:5.2f} s  {who:<17} {what}")

    def event(self, event: Event) -> None:
        told = _told(event)
        if told is not None:
            self.line(*told)


def _told(event: Event) -> tuple[str, str] | None:
    match event:
        case BatchSent(size=size):
            return "batched", f"sends {size} {'caller' if size == 1 else 'callers'} as one request"
        case FailedOver(endpoint=endpoint, to=to, error_type=why):
            return "failover", f"{endpoint} failed ({why}), on to {to} at once"
        case EndpointDown(endpoint=endpoint, rest=rest):
            return "failover", f"{endpoint} rests for {rest:.1f} s"
        case EndpointUp(endpoint=endpoint):
            return "failover", f"{endpoint} is back in rotation"
        case CircuitOpened(name=name, retry_after=wait):
            return "circuit_breaker", f"{name} opens for {wait:.1f} s"
        case CircuitHalfOpened(name=name):
            return "circuit_breaker", f"{name} lets one call through to see"
        case CircuitClosed(name=name):
            return "circuit_breaker", f"{name} is closed again"
        case RetryScheduled(delay=delay, error_type=why):
            return "classified_retry", f"nobody answered ({why}), tries again in {delay:.1f} s"
        case RetriesExhausted(attempts=attempts):
            return "classified_retry", f"gives up after {attempts} attempts"
        case Degraded(rung=rung, similarity=similarity):
            near = f", {similarity:.0%} similar" if similarity is not None else ""
            return "degrade_to", f"{rung} answers{near}"
    return None


async def _play() -> None:
    teller = _Teller()
    registry, memory = Registry(listeners=(teller.event,)), SimilarAnswers()
    with ExitStack() as servers:
        us_east, eu_west, anthropic = (
            servers.enter_context(FakeProvider(name, answer=_answer(name), latency=0.02))
            for name in ("us-east", "eu-west", "claude")
        )
        async with AsyncExitStack() as clients:
            us = OpenAIEndpoint("us-east", model="gpt-4o-mini", base_url=us_east.base_url, api_key="none")
            eu = OpenAIEndpoint("eu-west", model="gpt-4o-mini", base_url=eu_west.base_url, api_key="none")
            claude = AnthropicEndpoint("claude", model="claude-haiku-4-5", base_url=anthropic.url, api_key="none")
            decorate(registry, memory, us, eu, claude)
            print("One function, five decorators, three providers on this machine (real SDKs, no key, no network):\n")
            code = inspect.getsource(decorate).split("# --8<--\n")[1].replace(", registry=registry", "")
            print(textwrap.dedent(code).strip().replace("memory", "SimilarAnswers()"))
            print("\nThe SDKs are being imported ...")
            for endpoint in (us, eu, claude):
                await clients.enter_async_context(endpoint)
                await endpoint.check()

            await _outages(teller, memory, us_east, eu_west, anthropic)
            print("\n>>> registry")
            print(registry)
            asked = ", ".join(f"{each.name} {each.count()}" for each in (us_east, eu_west, anthropic))
            print(f"\nEvery caller got an answer. Requests that the providers saw, health checks included: {asked}.")


async def _outages(
    teller: _Teller, memory: SimilarAnswers, us_east: FakeProvider, eu_west: FakeProvider, anthropic: FakeProvider
) -> None:
    async def ask(*texts: str) -> None:
        async def one(text: str) -> None:
            teller.line("answer", await summarize(text))

        async with anyio.create_task_group() as callers:
            for text in texts:
                callers.start_soon(one, text)

    teller.scene("All is well. Four callers ask at the same time.")
    await ask(TRAINS, LIBRARY, BRIDGE, MARKET)
    memory.flush()  # it is written alongside the callers, and this machine may be slow
    teller.scene("us-east is overloaded (503).")
    us_east.outage("openai_overloaded")
    await ask(LIBRARY)
    teller.scene("us-east still is; eu-west runs into its rate limit (429, retry-after: 20).")
    eu_west.outage("openai_rate_limit")
    await ask(BRIDGE)
    teller.scene("claude is overloaded too (529): nobody is left, so those at rest are asked as well.")
    anthropic.outage("anthropic_overloaded")
    await ask(TRAINS_AGAIN, "A new ferry starts in June. Tickets are on sale now.")
    teller.scene("The providers recover; a second passes.")
    for provider in (us_east, eu_west, anthropic):
        provider.recover()
    await anyio.sleep(1.5)
    for text in (TRAINS, LIBRARY, BRIDGE, MARKET):
        await ask(text)
        await anyio.sleep(0.1)


def _answer(name: str) -> Callable[[str], str]:
    return lambda prompt: "\n".join(f"{first_sentences(line, 1)} [{name}]" for line in prompt.splitlines()[1:])
