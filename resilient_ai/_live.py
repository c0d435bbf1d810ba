"""The demo's outage in a loop, shown on the live page in a browser."""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING

import anyio
import uvicorn

from resilient_ai import Registry, _demo
from resilient_ai.dashboard import anyone, dashboard
from resilient_ai.providers import AnthropicEndpoint, OpenAIEndpoint
from resilient_ai.similar import SimilarAnswers
from resilient_ai.testing import FakeProvider

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds of each phase, and what fails in it.
SCENES: tuple[tuple[float, dict[str, str]], ...] = (
    (12.0, {}),
    (10.0, {"us-east": "openai_overloaded"}),
    (10.0, {"us-east": "openai_overloaded", "eu-west": "openai_rate_limit"}),
    (10.0, {"us-east": "openai_overloaded", "eu-west": "openai_rate_limit", "claude": "anthropic_overloaded"}),
)
TEXTS = (_demo.TRAINS, _demo.LIBRARY, _demo.BRIDGE, _demo.MARKET)


def run(port: int) -> int:
    """Serve until interrupted; returns the exit status."""
    print(f"http://127.0.0.1:{port}/ shows an outage that comes and goes; stop it with Ctrl-C")
    anyio.run(_serve, port)
    return 0


async def _serve(port: int) -> None:
    registry = Registry()
    page = dashboard(registry, view=anyone, act=lambda _scope, _action: "you", title="resilient_ai demo")
    server = uvicorn.Server(uvicorn.Config(page, host="127.0.0.1", port=port, log_level="warning"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_play, registry)
        await server.serve()
        tasks.cancel_scope.cancel()


async def _play(registry: Registry) -> None:
    with ExitStack() as servers:
        names = ("us-east", "eu-west", "claude")
        providers = {
            name: servers.enter_context(FakeProvider(name, answer=_demo._answer(name), latency=0.05)) for name in names
        }
        async with AsyncExitStack() as clients:
            us, eu = (
                OpenAIEndpoint(name, model="gpt-4o-mini", base_url=providers[name].base_url, api_key="none")
                for name in names[:2]
            )
            claude = AnthropicEndpoint(
                "claude", model="claude-haiku-4-5", base_url=providers["claude"].url, api_key="none"
            )
            for endpoint in (us, eu, claude):
                await clients.enter_async_context(endpoint)
            _demo.decorate(registry, SimilarAnswers(), us, eu, claude)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_call)
                for seconds, faults in itertools.cycle(SCENES):
                    for name, provider in providers.items():
                        if name in faults:
                            provider.outage(faults[name])
                        else:
                            provider.recover()
                    await anyio.sleep(seconds)


async def _call() -> None:
    async with anyio.create_task_group() as callers:
        for text in _texts():
            callers.start_soon(_demo.summarize, text)
            await anyio.sleep(0.12)


def _texts() -> Iterator[str]:
    """Iterate over texts without repeats, so that not every call of an outage is answered from memory."""
    return (f"{text} {number}" for number, text in enumerate(itertools.cycle(TEXTS)))
