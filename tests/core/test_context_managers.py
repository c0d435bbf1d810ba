"""Functions that give a context manager are refused at decoration, with what to write instead."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

import anthropic
import openai
import pytest

from resilient_ai import circuit_breaker, classified_retry, degrade_to

CHAT = openai.AsyncOpenAI(api_key="x", max_retries=0)
CLAUDE = anthropic.AsyncAnthropic(api_key="x", max_retries=0)


@asynccontextmanager
async def opened():
    yield "stream"


@contextmanager
def opened_at_once():
    yield "stream"


def manager() -> AbstractAsyncContextManager[str]:
    return opened()


class Client:
    @asynccontextmanager
    async def stream(self):
        yield "stream"


@pytest.mark.parametrize("policy", [circuit_breaker, classified_retry, degrade_to("sorry")])
@pytest.mark.parametrize(
    "fn",
    [
        CHAT.chat.completions.with_streaming_response.create,
        CHAT.responses.with_streaming_response.create,
        CLAUDE.messages.with_streaming_response.create,
        CLAUDE.messages.stream,
        CHAT.chat.completions.stream,
        CHAT.responses.stream,
        opened,
        opened_at_once,
        manager,
        Client().stream,
    ],
    ids=lambda fn: f"{fn.__module__.partition('.')[0]} {fn.__qualname__}",
)
def test_a_function_that_gives_a_context_manager_is_refused(policy, fn):
    with pytest.raises(TypeError, match=r"returns a context manager.*decorate an async generator function"):
        policy(fn)


@pytest.mark.parametrize(
    "fn",
    [CHAT.chat.completions.create, CHAT.chat.completions.with_raw_response.create, CLAUDE.messages.create],
    ids=["create", "raw", "anthropic"],
)
def test_what_is_awaited_is_taken(fn, registry):
    assert callable(circuit_breaker("it", registry=registry)(fn))
