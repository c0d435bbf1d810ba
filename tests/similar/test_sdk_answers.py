"""Bound SDK methods: their answers are remembered as they are, and come back as they were."""

from __future__ import annotations

import pytest

from resilient_ai import degrade_to, watch
from resilient_ai.similar import SimilarAnswers
from resilient_ai.testing import FakeProvider

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")


def asked(text):
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


def of_one_account(_call):
    return "acme"


async def test_an_openai_answer_comes_back_from_a_file_in_its_own_class(tmp_path, registry):
    with FakeProvider("east") as provider:
        async with openai.AsyncOpenAI(api_key="none", base_url=provider.base_url, max_retries=0) as client:
            with SimilarAnswers(tmp_path / "answers.db", embedder="trigrams", scope=of_one_account) as memory:
                create = degrade_to(memory, name="one", registry=registry)(client.chat.completions.create)
                first = await create(model="fake", messages=asked("How can I reset my password?"))
        provider.outage("overloaded")
        async with openai.AsyncOpenAI(api_key="none", base_url=provider.base_url, max_retries=0) as client:
            with (
                SimilarAnswers(tmp_path / "answers.db", embedder="trigrams", scope=of_one_account) as memory,
                watch() as seen,
            ):
                create = degrade_to(memory, name="two", registry=registry)(client.chat.completions.create)
                again = await create(model="fake", messages=asked("how do I reset the password"))
                with pytest.raises(openai.APIStatusError):
                    await create(model="other", messages=asked("how do I reset the password"))

    assert again == first
    assert type(again) is type(first)
    assert not seen.degraded  # of two calls, the latest


async def test_an_anthropic_answer_comes_back_in_its_own_class(registry):
    with FakeProvider("east") as provider:
        async with anthropic.AsyncAnthropic(api_key="none", base_url=provider.url, max_retries=0) as client:
            with SimilarAnswers(embedder="trigrams") as memory:
                create = degrade_to(memory, registry=registry)(client.messages.create)
                settings = {"model": "fake", "max_tokens": 50}
                messages = [{"role": "user", "content": "How can I reset my password?"}]
                first = await create(messages=messages, **settings)
                provider.outage("overloaded")
                messages = [{"role": "user", "content": "how do I reset the password"}]

                assert await create(messages=messages, **settings) == first
