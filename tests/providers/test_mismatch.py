"""What a sibling could not take is told at the first call, and not in an outage."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import pytest

from resilient_ai import EndpointMismatchWarning, failover
from resilient_ai.testing import FakeProvider
from tests.providers.support import make


@pytest.fixture
def provider():
    with FakeProvider("moon") as provider:
        yield provider


def stack(provider, registry, *kinds, **settings):
    endpoints = [make(kind, provider, f"{number}-{kind}") for number, kind in enumerate(kinds)]

    @failover(*endpoints, strategy="priority", registry=registry, **settings)
    async def ask(endpoint, prompt="hi", **params):
        return await endpoint.complete(prompt, **params)

    async def close() -> None:
        for each in endpoints:
            await each.aclose()

    return ask, close


SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
BLOCK = {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}]}
TOOL = {"name": "f", "input_schema": SCHEMA}


@pytest.mark.parametrize(
    ("kinds", "params", "told"),
    [
        (["openai", "anthropic"], {"logprobs": True}, "endpoint '1-anthropic': .* takes no parameter 'logprobs'"),
        (
            ["openai", "anthropic"],
            {"temperature": 1.5},
            "endpoint '1-anthropic': temperature must be .* up to 1, got 1.5",
        ),
        (["openai", "responses"], {"stop": "END"}, "endpoint '1-responses': .* takes no parameter 'stop'"),
        (["anthropic", "openai"], {"tools": [TOOL]}, "endpoint '1-openai': tool 0 is in Anthropic's own form"),
        (["anthropic", "google"], {"prompt": [BLOCK]}, "endpoint '1-google': a part of type 'image' is in a form"),
        (["google", "openai"], {"top_k": 3}, "endpoint '1-openai': .* takes no parameter 'top_k'"),
        (["openai", "google", "anthropic"], {"seed": 3}, "'2-anthropic': the anthropic API takes no parameter 'seed'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
async def test_the_first_call_names_the_sibling_and_the_parameter(provider, registry, kinds, params, told):
    ask, close = stack(provider, registry, *kinds)
    with pytest.warns(EndpointMismatchWarning, match=told) as caught:
        await ask(**params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await ask(**params)
    await close()

    assert len(caught) == 1
    assert "a call of endpoint '0-" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert provider.count() == 2  # nothing was sent to the sibling


@pytest.mark.parametrize(
    "params",
    [
        {"system": "be brief", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "timeout": 5},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}], "tool_choice": "required"},
        {"schema": SCHEMA},
    ],
    ids=["shared parameters", "tools", "schema"],
)
async def test_what_all_can_take_is_not_warned_of(provider, registry, params):
    ask, close = stack(provider, registry, "openai", "responses", "anthropic", "google", "http")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await ask(**params)
    await close()


async def test_an_endpoint_in_no_failover_has_nobody_to_compare_with(provider):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with make("openai", provider) as endpoint:
            await endpoint.complete("hi", logprobs=True)


async def test_a_parameter_of_one_endpoint_alone_is_no_mismatch(provider, registry):
    one = make("openai", provider, "one", params={"seed": 7})
    other = make("anthropic", provider, "other")

    @failover(one, other, strategy="priority", registry=registry)
    async def ask(endpoint):
        return await endpoint.complete("hi")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await ask()
    for each in (one, other):
        await each.aclose()

    assert provider.requests[0].body["seed"] == 7


async def test_a_filter_that_makes_the_warning_an_error_does_not_break_the_call(provider, registry, caplog):
    ask, close = stack(provider, registry, "openai", "anthropic")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with caplog.at_level(logging.WARNING, "resilient_ai"):
            assert await ask(logprobs=True) == "[moon] hi"
    await close()


async def test_another_kind_of_call_is_compared_anew(provider, registry):
    ask, close = stack(provider, registry, "openai", "anthropic")
    await ask()
    with pytest.warns(EndpointMismatchWarning, match="logprobs"):
        await ask(logprobs=True)
    await close()


@pytest.mark.parametrize(
    ("params", "imported"),
    [
        ("system='be brief', temperature=0.5, schema={'type': 'object', 'properties': {}}", False),
        ("logprobs=True", True),
    ],
    ids=["shared", "its own"],
)
def test_the_sdk_of_a_sibling_is_imported_only_where_it_is_needed_to_tell(params, imported):
    code = f"""
import sys, warnings
import anyio
from resilient_ai import failover
from resilient_ai.providers import AnthropicEndpoint, OpenAIEndpoint
from resilient_ai.testing import FakeProvider

told = []
warnings.showwarning = lambda message, *_: told.append(str(message))

async def main():
    with FakeProvider() as provider:
        us = OpenAIEndpoint("us", model="m", base_url=provider.base_url, api_key="x")
        claude = AnthropicEndpoint("claude", model="m", base_url=provider.url, api_key="x")

        @failover(us, claude, strategy="priority")
        async def ask(endpoint):
            return await endpoint.complete("hi", {params})

        await ask()

anyio.run(main)
assert ("anthropic" in sys.modules) is {imported}
assert len(told) == {int(imported)}, told
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
