"""Fixtures that several files of this folder need."""

from __future__ import annotations

import pytest

from resilient_ai import degrade_to
from resilient_ai.similar import SimilarAnswers
from tests.similar.support import Provider


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def bot(provider, registry):
    """An FAQ bot: `ask(...)`, with its memory at `.memory`."""

    def build(**settings):
        memory = SimilarAnswers(**{"embedder": "trigrams", **settings})
        made.append(memory)

        @degrade_to(memory, "Please try again later", name=f"bot {len(made)}", registry=registry)
        async def ask(question: str, *, language: str = "en", tenant: str = "acme"):
            return await provider(question, language=language, tenant=tenant)

        return ask

    made: list[SimilarAnswers] = []
    build.made = made
    yield build
    for memory in made:
        memory.close()
