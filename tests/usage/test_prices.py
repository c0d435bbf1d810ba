"""Tokens and prices agree with those that genai-prices reads out of the same replies."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from resilient_ai import failover
from resilient_ai.usage import Usage, genai_prices, usage_of
from tests.providers.support import make

REPLIES = json.loads((Path(__file__).parent / "replies.json").read_text())
NAMES = [each["name"] for each in REPLIES]
installed = pytest.mark.skipif(importlib.util.find_spec("genai_prices") is None, reason="genai-prices is missing")


@pytest.mark.parametrize("recorded", REPLIES, ids=NAMES)
def test_a_reply_is_read_as_genai_prices_read_it(recorded):
    """`expected` was written by genai-prices 0.2.3."""
    assert dataclasses.asdict(usage_of(recorded["reply"])) == recorded["expected"]


@installed
@pytest.mark.parametrize("recorded", REPLIES, ids=NAMES)
def test_the_installed_genai_prices_reads_it_alike(recorded):
    import genai_prices as table

    told = table.extract_usage(recorded["reply"], provider_id=recorded["provider"], api_flavor=recorded["flavor"]).usage
    names = {name: name for name in recorded["expected"]} | {"reasoning_tokens": "output_reasoning_tokens"}

    assert {name: getattr(told, theirs, None) or 0 for name, theirs in names.items()} == recorded["expected"]


@installed
@pytest.mark.parametrize("recorded", REPLIES, ids=NAMES)
def test_a_reply_costs_what_genai_prices_says(recorded):
    import genai_prices as table

    reply = recorded["reply"]
    theirs = table.extract_usage(reply, provider_id=recorded["provider"], api_flavor=recorded["flavor"]).calc_price()
    ours = genai_prices()(reply.get("model") or reply["modelVersion"], usage_of(reply))
    fees = 0.01 if "server_tool_use" in reply.get("usage", {}) else 0.0  # of a search, which is no matter of tokens

    assert ours == pytest.approx(float(theirs.total_price) - fees)


@installed
def test_a_model_that_the_table_does_not_have_has_no_price():
    assert genai_prices()("my-own-model", Usage(1, 1)) is None


@pytest.mark.parametrize("kind", ["openai", "responses", "anthropic", "google"])
async def test_answers_and_streams_of_every_vendor_are_counted_and_priced(kind, registry, fake_provider):
    registry.price = lambda model, usage: usage.output_tokens * 1e-6
    endpoint = make(kind, fake_provider, "here")

    @failover(endpoint, registry=registry)
    async def ask(endpoint, text):
        return str(await endpoint.complete(text))  # which tells no more what it used

    @failover(endpoint, registry=registry)
    async def tell(endpoint, text):
        async for piece in endpoint.stream(text):
            yield piece

    @failover(endpoint, registry=registry)
    async def hand_out(endpoint, text):
        return endpoint.stream(text)

    await ask("how much")
    assert [piece async for piece in tell("how much")]
    assert [piece async for piece in await hand_out("how much")]
    await endpoint.aclose()
    sites = [registry.usage[name] for name in registry.usage]

    assert len(sites) == 3
    assert len({site.usage for site in sites}) == 1
    assert {(site.calls, site.without_usage, site.without_price) for site in sites} == {(1, 0, 0)}
    assert len({site.cost for site in sites}) == 1
    assert sites[0].cost > 0
    assert sites[0].rows[0].endpoint == "here"


async def test_embeddings_are_counted_although_vectors_say_nothing(registry, fake_provider):
    registry.price = lambda model, usage: usage.input_tokens * 1.0
    endpoint = make("openai", fake_provider, "here")

    @failover(endpoint, registry=registry)
    async def embed(endpoint, texts):
        return await endpoint.embed(texts)

    await embed(["one two", "three"])
    await endpoint.aclose()
    site = registry.usage[next(iter(registry.usage))]

    assert (site.calls, site.without_usage, site.cost) == (1, 0, site.usage.input_tokens)
    assert site.usage.input_tokens > 0


def test_without_the_package_one_is_told_what_to_install():
    code = "import importlib.util; importlib.util.find_spec = lambda name: None\n"
    code += "from resilient_ai.usage import genai_prices; genai_prices()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "pip install 'resilient-ai[prices]'" in done.stderr


def test_asking_for_prices_imports_nothing_yet():
    code = "import sys; from resilient_ai.usage import genai_prices; genai_prices; print('genai_prices' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False"]
