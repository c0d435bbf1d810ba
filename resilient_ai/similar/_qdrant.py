"""Answers in Qdrant, for a fleet of machines that already run it."""

from __future__ import annotations

import threading
import time
import uuid
import warnings
from typing import TYPE_CHECKING, Any

from resilient_ai._core.checks import check_number
from resilient_ai._core.public import public

from ._memory import MemoryStore
from ._store import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qdrant_client import QdrantClient
    from qdrant_client.models import Filter, Record, ScoredPoint

    from ._store import Vector

_REST_SECONDS = 10.0
_PURGE_SECONDS = 300.0


@public("similar")
class QdrantStore:
    """
    A store for `SimilarAnswers(store=...)` that keeps its entries in a Qdrant server, for many machines to share.

    Needs `pip install 'resilient-ai[qdrant]'`. What this process remembered itself is kept in memory too, so that
    it still answers while the server is away: after an error the server is left alone for 10 seconds. Give the
    client a short `timeout`; a provider's outage is no time to wait for a database.

    Args:
        client: A `qdrant_client.QdrantClient`, local or of a server; closed by its owner.
        collection: Prefix of the collections, of which there is one per embedder. Default "resilient_ai".
        max_age: Seconds after which entries are deleted from the server; None: never. Default one day.
        max_entries: Most entries kept in this process. The server's own limits bound the rest.

    Raises:
        ValueError: A bad setting.
    """

    def __init__(
        self,
        client: QdrantClient,
        collection: str = "resilient_ai",
        *,
        max_age: float | None = 86_400.0,
        max_entries: int = 10_000,
    ) -> None:
        check_number("max_age", max_age, above=0, optional=True)
        if not collection:
            raise ValueError("collection must be a non-empty string, got ''")
        self._client = client
        self._prefix = collection
        self._max_age = max_age
        self._memory = MemoryStore(max_entries=max_entries)
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._resting_until = 0.0
        self._purged = float("-inf")
        self.file_errors = 0

    def put(self, entries: Sequence[Entry]) -> None:
        self._memory.put(entries)
        self._asked(lambda: self._put(entries), None)

    def _put(self, entries: Sequence[Entry]) -> None:
        from qdrant_client import models

        points: dict[str, list[models.PointStruct]] = {}
        for entry in entries:
            payload = {
                "partition": entry.partition,
                "owner": entry.owner,
                "key": entry.key,
                "at": entry.at,
                "answer": entry.answer,
                "text": entry.text,
                "features": entry.features,
                "embedders": list(entry.vectors),
            }
            for embedder, vector in entry.vectors.items():
                name = self._collection(embedder, len(vector))
                place = _id(entry.partition, entry.key)
                points.setdefault(name, []).append(
                    models.PointStruct(id=place, vector=vector.tolist(), payload=payload)
                )
        for name, those in points.items():
            self._client.upsert(name, those, wait=True)
        if self._max_age is not None and entries and time.monotonic() - self._purged > _PURGE_SECONDS:
            self._purged = time.monotonic()
            oldest = max(entry.at for entry in entries) - self._max_age
            old = models.Filter(must=[models.FieldCondition(key="at", range=models.Range(lt=oldest))])
            self._delete(old)

    def _collection(self, embedder: str, dimensions: int) -> str:
        """The name of an embedder's collection, which is made on first use."""
        from qdrant_client import models

        name = self._name(embedder)
        with self._lock:
            if name not in self._known:
                if not self._client.collection_exists(name):
                    size = models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
                    self._client.create_collection(name, vectors_config=size)
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # the local mode says that it needs no index
                        tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
                        self._client.create_payload_index(name, "partition", tenant)
                        self._client.create_payload_index(name, "owner", models.PayloadSchemaType.KEYWORD)
                        self._client.create_payload_index(name, "at", models.PayloadSchemaType.FLOAT)
                self._known.add(name)
        return name

    def _name(self, embedder: str) -> str:
        return f"{self._prefix}-" + "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in embedder)

    def _names(self) -> list[str]:
        found = (each.name for each in self._client.get_collections().collections)
        return [name for name in found if name.startswith(f"{self._prefix}-")]

    def exact(self, partition: str, key: str) -> Entry | None:
        known = self._memory.exact(partition, key)

        def ask() -> Entry | None:
            for name in self._names():
                for record in self._client.retrieve(name, [_id(partition, key)], with_payload=True):
                    entry = _entry(record)
                    if entry.partition == partition and entry.key == key:
                        return entry
            return None

        found = self._asked(ask, None)
        return max((each for each in (found, known) if each is not None), key=lambda each: each.at, default=None)

    def nearest(
        self, partition: str, embedder: str, vector: Vector, at_least: float, limit: int
    ) -> Sequence[tuple[float, Entry]]:
        own = self._memory.nearest(partition, embedder, vector, at_least, limit)

        def ask() -> list[tuple[float, Entry]]:
            from qdrant_client import models

            name = self._name(embedder)
            if name not in self._known and not self._client.collection_exists(name):
                return []
            same = models.FieldCondition(key="partition", match=models.MatchValue(value=partition))
            found = self._client.query_points(
                name,
                query=vector.tolist(),
                query_filter=models.Filter(must=[same]),
                score_threshold=at_least,
                limit=limit,
                with_payload=True,
            )
            return [(point.score, _entry(point)) for point in found.points]

        merged = {entry.key: (similarity, entry) for similarity, entry in own}
        for similarity, entry in self._asked(ask, []):
            if entry.partition == partition and (entry.key not in merged or merged[entry.key][1].at <= entry.at):
                merged[entry.key] = (similarity, entry)
        return sorted(merged.values(), key=lambda pair: -pair[0])[:limit]

    def forget(self, owner: str | None) -> int:
        """
        Delete here and on the server. Other processes may still have what they remembered themselves.

        Raises:
            Exception: Whatever the client raises, because then it is not forgotten there.
        """
        from qdrant_client import models

        gone = self._memory.forget(owner)
        whose = models.FieldCondition(key="owner", match=models.MatchValue(value=owner)) if owner is not None else None
        return max(gone, self._delete(models.Filter(must=[whose] if whose is not None else [])))

    def _delete(self, which: Filter) -> int:
        from qdrant_client import models

        most = 0
        for name in self._names():
            most = max(most, self._client.count(name, count_filter=which, exact=True).count)
            self._client.delete(name, models.FilterSelector(filter=which), wait=True)
        return most

    def close(self) -> None:
        """Nothing: the client is its owner's."""

    def _asked(self, ask: Callable[[], Any], otherwise: Any) -> Any:
        """What the server says; after an error it is not asked for a while."""
        if time.monotonic() < self._resting_until:
            return otherwise
        try:
            return ask()
        except Exception:  # noqa: BLE001 - a server that is down, in any of its client's words
            self._resting_until = time.monotonic() + _REST_SECONDS
            self.file_errors += 1
            return otherwise

    def __repr__(self) -> str:
        return f"<QdrantStore {self._prefix!r}>"


def _id(partition: str, key: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{partition}:{key}"))


def _entry(point: Record | ScoredPoint) -> Entry:
    import numpy as np

    kept = point.payload or {}
    return Entry(
        partition=kept["partition"],
        owner=kept["owner"],
        key=kept["key"],
        vectors={name: np.zeros(0, dtype=np.float32) for name in kept["embedders"]},
        answer=kept["answer"],
        at=kept["at"],
        text=kept["text"],
        features=kept["features"],
    )
