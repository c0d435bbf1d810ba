"""Vectors of an endpoint, one for each text, beside `batched`."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import batched, failover
from resilient_ai.providers import EndpointReplyError, ParameterError
from resilient_ai.testing import FakeProvider, Fault
from tests.providers.support import make

WITH_VECTORS = ["openai", "responses", "google"]
TEXTS = ["the red cat", "a red cat", "tax law"]


@pytest.fixture
def provider():
    with FakeProvider("moon") as provider:
        yield provider


def cosine(left: list[float], right: list[float]) -> float:
    return sum(x * y for x, y in zip(left, right, strict=True))


@pytest.mark.parametrize("kind", WITH_VECTORS)
async def test_texts_become_vectors_in_their_order(provider, kind):
    async with make(kind, provider) as endpoint:
        one, near, far = await endpoint.embed(TEXTS)
        (other,) = await endpoint.embed(TEXTS[:1])

    assert one == pytest.approx(other)
    assert cosine(one, near) > 0.5 > cosine(one, far)
    assert provider.prompts == [*TEXTS, TEXTS[0]]


async def test_parameters_of_the_api_are_passed_on(provider):
    async with make("openai", provider) as gpt, make("google", provider) as gemini:
        assert [len(each) for each in await gpt.embed(TEXTS, dimensions=8, timeout=5)] == [8, 8, 8]
        assert [len(each) for each in await gemini.embed(TEXTS, output_dimensionality=8, timeout=5)] == [8, 8, 8]
        with pytest.raises(ParameterError, match="takes no parameter 'dimension'; did you mean 'dimensions'"):
            await gpt.embed(TEXTS, dimension=8)
        with pytest.raises(ParameterError, match="takes no parameter 'temperature'"):
            await gemini.embed(TEXTS, temperature=1)


@pytest.mark.parametrize("kind", ["anthropic", "http"])
async def test_an_api_without_embeddings_says_so(provider, kind):
    async with make(kind, provider) as endpoint:
        with pytest.raises(ParameterError, match=f"endpoint 'here': the {kind} API has no embeddings"):
            await endpoint.embed(TEXTS)


@pytest.mark.parametrize("kind", WITH_VECTORS)
async def test_a_vector_too_few_is_no_answer(provider, kind):
    body = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}], "model": "m"}
    body["embeddings"] = [{"values": [1.0]}]
    provider.script(Fault.reply(200, body))
    async with make(kind, provider) as endpoint:
        with pytest.raises(EndpointReplyError, match="without an answer"):
            await endpoint.embed(TEXTS, **({"encoding_format": "float"} if kind != "google" else {}))


async def test_single_texts_are_embedded_together_and_move_on_together(provider, registry):
    with FakeProvider("down") as down:
        down.outage("overloaded")
        first, second = make("openai", down, "first"), make("google", provider, "second")

        @batched(batch_size=3, registry=registry)
        @failover(first, second, strategy="priority", registry=registry)
        async def embed(endpoint, texts: list[str]) -> list[list[float]]:
            return await endpoint.embed(texts)

        vectors: dict[str, list[float]] = {}

        async def one(text: str) -> None:
            vectors[text] = await embed(text)

        async with anyio.create_task_group() as tasks:
            for text in TEXTS:
                tasks.start_soon(one, text)
        expected = await second.embed(TEXTS)
        for each in (first, second):
            await each.aclose()

    assert [vectors[text] for text in TEXTS] == expected
    assert (down.count(), provider.count()) == (1, 2)
