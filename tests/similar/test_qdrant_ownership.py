"""A Qdrant store reads, writes and deletes in collections with its own mark only, whatever others are called."""

from __future__ import annotations

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from resilient_ai import NO_ANSWER
from resilient_ai._degrade_to.contract import FailedCall
from resilient_ai.similar import Entry, QdrantStore, SimilarAnswers

VECTOR = np.ones(4, dtype=np.float32) / 2


@pytest.fixture
def client():
    made = QdrantClient(":memory:")
    yield made
    made.close()


def entry(key="k", *, owner="o", embedder="e", at=1_000.0):
    return Entry("p", owner, key, {embedder: VECTOR}, f'"{key}"', at=at, text="a text")


def foreign(client, name, *, size=4, payload=None, points=10):
    client.create_collection(name, vectors_config=models.VectorParams(size=size, distance=models.Distance.COSINE))
    client.upsert(
        name,
        [
            models.PointStruct(id=number, vector=[1.0] * size, payload=payload or {"doc": number, "at": 0.0})
            for number in range(points)
        ],
    )


def counts(client):
    return {each.name: client.count(each.name).count for each in client.get_collections().collections}


@pytest.mark.parametrize("name", ["app-documents", "app-trigrams-448-2", "app-", "app-e-12345678", "app"])
def test_forgetting_and_ageing_leave_collections_of_others_alone(client, name):
    foreign(client, name, payload={"owner": "o", "partition": "p", "key": "k", "at": 0.0})
    store = QdrantStore(client, "app", max_age=60)
    store.put([entry("old")])
    QdrantStore(client, "app", max_age=60).put([entry("new", at=9_000.0)])
    store.forget("o")
    store.forget(None)

    assert counts(client)[name] == 10


def test_stores_whose_names_begin_alike_share_nothing(client):
    one, other = QdrantStore(client, "app"), QdrantStore(client, "app-eu")
    one.put([entry("one", embedder="eu-e")])
    other.put([entry("other", embedder="e")])
    assert QdrantStore(client, "app-eu").exact("p", "one") is None
    QdrantStore(client, "app").forget(None)

    assert QdrantStore(client, "app").exact("p", "one") is None
    assert QdrantStore(client, "app-eu").exact("p", "other") is not None


def test_forgetting_reaches_collections_of_embedders_that_this_process_never_saw(client):
    QdrantStore(client, "app").put([entry("k", embedder="an older one")])
    again = QdrantStore(client, "app")

    assert again.forget(None) == 1
    assert QdrantStore(client, "app").exact("p", "k") is None


def test_embedders_whose_names_differ_in_signs_alone_have_a_collection_each(client):
    store = QdrantStore(client, "app")
    store.put([entry("slash", embedder="a/b"), entry("dash", embedder="a-b")])

    assert len(counts(client)) == 2
    assert [found.key for _, found in QdrantStore(client, "app").nearest("p", "a/b", VECTOR, 0.9, 9)] == ["slash"]


def test_a_collection_of_ours_in_which_somebody_else_wrote_keeps_what_is_theirs(client):
    store = QdrantStore(client, "app")
    store.put([entry()])
    (name,) = counts(client)
    client.upsert(name, [models.PointStruct(id=7, vector=[1.0] * 4, payload={"owner": "o", "partition": "p"})])

    assert [found.key for _, found in QdrantStore(client, "app").nearest("p", "e", VECTOR, 0.5, 9)] == ["k"]
    store.forget(None)
    assert client.retrieve(name, [7])


def test_a_name_that_is_taken_by_somebody_else_is_neither_written_nor_read(client):
    store = QdrantStore(client, "app")
    name = store._name_for("e", 4)
    foreign(client, name)
    store.put([entry()])

    assert counts(client)[name] == 10
    assert store.file_errors == 1
    assert store.nearest("p", "e", VECTOR, 0.9, 9)  # from memory
    assert QdrantStore(client, "app").nearest("p", "e", VECTOR, 0.9, 9) == []


def test_an_empty_collection_whose_maker_did_not_come_to_mark_it_is_taken_over(client):
    name = QdrantStore(client, "app")._name_for("e", 4)
    client.create_collection(name, vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    QdrantStore(client, "app").put([entry()])

    assert QdrantStore(client, "app").exact("p", "k") is not None


async def test_a_point_that_cannot_be_read_hides_no_other(client):
    store = QdrantStore(client, "app")
    with SimilarAnswers(store=store, embedder="trigrams") as memory:
        for word in ("one", "two"):
            memory.remember(FailedCall("f", (), {}, {"text": f"what does ticket number {word} cost"}), word)
    (name,) = counts(client)
    marked = [each for each in client.scroll(name, with_vectors=True, limit=99)[0] if each.payload.get("text")]
    broken = next(each for each in marked if each.payload["text"].endswith("one cost"))
    for change in ({"answer": 5}, {"key": None}, {"vectors": 1, "embedders": None}):
        payload = {**broken.payload, **change}
        client.upsert(name, [models.PointStruct(id=broken.id, vector=broken.vector, payload=payload)])
        with SimilarAnswers(store=QdrantStore(client, "app"), embedder="trigrams") as memory:
            found = memory.recall(FailedCall("f", (), {}, {"text": "what does ticket number two cost?"}))

            assert (await found).answer == "two"
            found = memory.recall(FailedCall("f", (), {}, {"text": "what does ticket number one cost"}))
            assert await found is NO_ANSWER


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_name_that_is_none_is_refused(client, name):
    with pytest.raises(ValueError, match="collection must be a non-empty string"):
        QdrantStore(client, name)
