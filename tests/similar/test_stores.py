"""Every store does the same for its users: in memory, in a file, in Qdrant, or ones own."""

from __future__ import annotations

import anyio
import numpy as np
import pytest
from qdrant_client import QdrantClient

from resilient_ai import NO_ANSWER
from resilient_ai._degrade_to.contract import FailedCall
from resilient_ai.similar import Entry, MemoryStore, QdrantStore, SimilarAnswers, SQLiteStore, StoreProtocol
from tests.helpers import trio_in_ci


class Plain:
    """A store as a user would write one: a list, and no more than the protocol asks for."""

    def __init__(self):
        self.entries = []
        self.down = False
        self.closed = False

    def put(self, entries):
        self._check()
        for entry in entries:
            self.entries = [e for e in self.entries if (e.partition, e.key) != (entry.partition, entry.key)]
            self.entries.append(entry)

    def exact(self, partition, key):
        self._check()
        return next((e for e in self.entries if (e.partition, e.key) == (partition, key)), None)

    def nearest(self, partition, embedder, vector, at_least, limit):
        self._check()
        mine = [e for e in self.entries if e.partition == partition and embedder in e.vectors]
        found = sorted(((float(e.vectors[embedder] @ vector), e) for e in mine), key=lambda pair: -pair[0])
        return [pair for pair in found if pair[0] >= at_least][:limit]

    def forget(self, owner):
        before = len(self.entries)
        self.entries = [e for e in self.entries if owner is not None and e.owner != owner]
        return before - len(self.entries)

    def close(self):
        self.closed = True

    def _check(self):
        if self.down:
            raise OSError("no route to host")


@pytest.fixture(params=["memory", "sqlite", "large sqlite", "qdrant", "plain"])
def store(request, tmp_path):
    client = QdrantClient(":memory:")
    made = {
        "memory": MemoryStore,
        "sqlite": lambda: SQLiteStore(tmp_path / "answers.db"),
        "large sqlite": lambda: SQLiteStore(tmp_path / "answers.db", max_entries=50_000),
        "qdrant": lambda: QdrantStore(client),
        "plain": Plain,
    }[request.param]()
    yield made
    made.close()
    client.close()


def call(text="How can I reset my password?", now=0.0, **arguments):
    return FailedCall("bot.ask", (), {}, {"text": text, **arguments}, now=now)


async def answer(memory, asked):
    found = memory.recall(asked)
    found = await found if hasattr(found, "__await__") else found
    return None if found is NO_ANSWER else found.answer


def tenant(call):
    return call.arguments["tenant"]


def test_each_is_a_store(store):
    assert isinstance(store, StoreProtocol)


async def test_a_paraphrase_is_answered_and_another_scope_is_not(store):
    with SimilarAnswers(store=store, embedder="trigrams", scope=tenant) as memory:
        memory.remember(call(tenant="acme"), "Open Settings.")

        assert await answer(memory, call("how do I reset the password", tenant="acme")) == "Open Settings."
        assert await answer(memory, call(tenant="acme")) == "Open Settings."
        assert await answer(memory, call(tenant="globex")) is None


async def test_a_newer_answer_takes_the_place_of_an_older_one(store):
    with SimilarAnswers(store=store, embedder="trigrams") as memory:
        memory.remember(call(), "old")
        memory.flush()
        memory.remember(call(now=5.0), "new")

        assert await answer(memory, call(now=5.0)) == "new"
        assert await answer(memory, call("how do I reset the password", now=5.0)) == "new"


async def test_forgetting_a_scope_leaves_the_others(store):
    with SimilarAnswers(store=store, embedder="trigrams", scope=tenant) as memory:
        for name in ("acme", "globex"):
            memory.remember(call(tenant=name), name)

        assert memory.forget("acme") == 1
        assert await answer(memory, call(tenant="acme")) is None
        assert await answer(memory, call(tenant="globex")) == "globex"
        assert memory.forget() == 1
        assert await answer(memory, call(tenant="globex")) is None


@trio_in_ci
async def test_with_two_embedders_and_sealed_words(store):
    with SimilarAnswers(store=store, embedder="minilm", store_text=False) as memory:
        memory.remember(call("My card was stolen, what should I do?"), "Call us.")
        memory.remember(call("无语是什么意思"), "Speechless.")
        memory.flush(30)

        assert await answer(memory, call("Someone stole my card. What do I do now?")) == "Call us."
        assert await answer(memory, call("无语是什么意思!")) == "Speechless."
        assert await answer(memory, call("My card was not stolen, what should I do?")) is None


async def test_a_store_that_is_down_costs_the_answer_and_nothing_else():
    store = Plain()
    with SimilarAnswers(store=store, embedder="trigrams") as memory:
        memory.remember(call(), "Open Settings.")
        memory.flush()
        store.down = True
        memory.remember(call("Who may open the gate?"), "You.")

        assert await answer(memory, call()) is None
        assert memory.stats().store_errors == 2
        store.down = False
        assert await answer(memory, call()) == "Open Settings."
    assert store.closed


async def test_while_qdrant_is_away_what_this_process_remembered_is_still_there():
    client = QdrantClient(":memory:")
    with SimilarAnswers(store=QdrantStore(client), embedder="trigrams") as memory:
        memory.remember(call(), "Open Settings.")
        memory.flush()
        client.close()
        with anyio.fail_after(5):
            assert await answer(memory, call("how do I reset the password")) == "Open Settings."
        assert memory.stats().store_errors == 1


async def test_machines_share_what_is_in_qdrant():
    client = QdrantClient(":memory:")
    with SimilarAnswers(store=QdrantStore(client), embedder="trigrams") as one:
        one.remember(call(), "Open Settings.")
    with SimilarAnswers(store=QdrantStore(client), embedder="trigrams") as other:
        assert await answer(other, call("how do I reset the password")) == "Open Settings."
    client.close()


def test_answers_beyond_their_age_leave_qdrant():
    client = QdrantClient(":memory:")
    vector = np.ones(3, dtype=np.float32) / np.sqrt(3)
    QdrantStore(client, max_age=60).put([Entry("p", "o", "old", {"e": vector}, '"old"', at=1_000.0)])
    store = QdrantStore(client, max_age=60)
    assert store.exact("p", "old") is not None
    store.put([Entry("p", "o", "new", {"e": vector}, '"new"', at=1_061.0)])

    assert store.exact("p", "old") is None
    assert [entry.key for _, entry in store.nearest("p", "e", vector, 0.9, 9)] == ["new"]
    client.close()
