"""`QdrantStore`: answers in a Qdrant server, shared by many machines."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
import warnings
from typing import TYPE_CHECKING, Any

from resilient_ai._core.checks import check_number
from resilient_ai._core.forks import hold_while_forking
from resilient_ai._core.log import log
from resilient_ai._core.public import public

from ._memory import MemoryStore
from ._store import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qdrant_client import QdrantClient
    from qdrant_client.models import FieldCondition, Record, ScoredPoint

    from ._store import Vector

_REST_SECONDS = 10.0
_PURGE_SECONDS = 300.0
_LIST_SECONDS = 60.0  # seconds for which the list of our collections is cached
_MARK = str(uuid.uuid5(uuid.NAMESPACE_OID, "resilient_ai.similar"))
_OF = "resilient_ai_store"
_KIND, _ENTRY = "kind", "resilient_ai_entry"


class ForeignCollectionError(ValueError):
    """A collection of this name was not made by this store. It is not changed."""


@public("similar")
class QdrantStore:
    """
    A store for `SimilarAnswers(store=...)` that keeps its entries in a Qdrant server, shared by many machines.

    Needs `pip install 'resilient-ai[qdrant]'`. Answers remembered by this process are also kept in memory, and are used
    while the server is away: after an error the server is not asked for 10 seconds. Give the client a short `timeout`:
    in a provider's outage, callers should not wait for a database.

    The store makes its collections itself and marks each with a point that names the store. It reads, writes and
    deletes only in collections with its own mark, independent of their names.

    Args:
        client: A `qdrant_client.QdrantClient`, local or of a server; closed by its owner.
        collection: Name of the store; the names of its collections, one per embedder, begin with it. Default
            "resilient_ai".
        max_age: Seconds after which entries are deleted from the server; None: never. Default one day.
        max_entries: Most entries kept in this process. The server's own limits bound the rest. Default 10,000.

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
        if not collection or not isinstance(collection, str):
            raise ValueError(f"collection must be a non-empty string, got {collection!r}")
        self._client = client
        self._name = collection
        self._max_age = max_age
        self._memory = MemoryStore(max_entries=max_entries)
        self._lock = threading.RLock()
        hold_while_forking(self, self._lock, rank=1)
        self._mine: dict[str, None] = {}  # collections with the mark of this store
        self._listed = float("-inf")
        self._resting_until = 0.0
        self._purged = float("-inf")
        self.file_errors = 0

    # -- writing

    def put(self, entries: Sequence[Entry]) -> None:
        self._memory.put(entries)
        self._asked(lambda: self._put(entries), None)

    def _put(self, entries: Sequence[Entry]) -> None:
        from qdrant_client import models

        points: dict[str, list[models.PointStruct]] = {}
        for entry in entries:
            for embedder, vector in entry.vectors.items():
                name = self._collection(embedder, len(vector))
                place = _id(entry.partition, entry.key)
                points.setdefault(name, []).append(
                    models.PointStruct(id=place, vector=vector.tolist(), payload=_payload(entry))
                )
        for name, those in points.items():
            self._client.upsert(name, those, wait=True)
        if self._max_age is not None and entries and time.monotonic() - self._purged > _PURGE_SECONDS:
            self._purged = time.monotonic()
            oldest = max(entry.at for entry in entries) - self._max_age
            self._delete(models.FieldCondition(key="at", range=models.Range(lt=oldest)))

    def _collection(self, embedder: str, dimensions: int) -> str:
        """
        The name of an embedder's collection, which is made on first use.

        Raises:
            ForeignCollectionError: A collection of that name does not belong to this store.
        """
        name = self._name_for(embedder, dimensions)
        with self._lock:
            if name in self._mine:
                return name
        if not self._client.collection_exists(name):
            self._make(name, dimensions)
        elif not self._is_mine(name):
            if self._client.count(name, exact=True).count:
                raise ForeignCollectionError(f"collection {name!r} does not belong to the store {self._name!r}")
            self._mark(name, dimensions)  # its maker was interrupted before this step
        with self._lock:
            self._mine[name] = None
        return name

    def _make(self, name: str, dimensions: int) -> None:
        from qdrant_client import models

        size = models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
        self._client.create_collection(name, vectors_config=size)
        self._mark(name, dimensions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the local mode warns that it needs no index
            tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
            self._client.create_payload_index(name, "partition", tenant)
            self._client.create_payload_index(name, "owner", models.PayloadSchemaType.KEYWORD)
            self._client.create_payload_index(name, "at", models.PayloadSchemaType.FLOAT)

    # -- own collections

    def _mark(self, name: str, dimensions: int) -> None:
        from qdrant_client import models

        anywhere = [1.0] + [0.0] * (dimensions - 1)
        mark = models.PointStruct(id=_MARK, vector=anywhere, payload={_OF: self._name})
        self._client.upsert(name, [mark], wait=True)

    def _is_mine(self, name: str) -> bool:
        marks = self._client.retrieve(name, [_MARK], with_payload=True)
        return any((mark.payload or {}).get(_OF) == self._name for mark in marks)

    def _name_for(self, embedder: str, dimensions: int) -> str:
        """The name of a collection, with a digest, because characters that are not allowed in names are replaced."""
        whole = f"{len(self._name)}:{self._name}:{dimensions}:{embedder}"
        digest = hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
        plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_") else "-" for sign in embedder)
        return f"{self._name}-{plain[:64]}-{digest}"

    def _names(self, *, fresh: bool = False) -> list[str]:
        """The collections of this store for all embedders; the list is cached for a minute."""
        if fresh or time.monotonic() - self._listed > _LIST_SECONDS:
            found = [each.name for each in self._client.get_collections().collections]
            mine = [name for name in found if name.startswith(f"{self._name}-") and self._is_mine(name)]
            with self._lock:
                self._mine = dict.fromkeys(mine)
                self._listed = time.monotonic()
        with self._lock:
            return list(self._mine)

    # -- reading

    def exact(self, partition: str, key: str) -> Entry | None:
        known = self._memory.exact(partition, key)

        def ask() -> Entry | None:
            for name in self._names():
                for record in self._client.retrieve(name, [_id(partition, key)], with_payload=True):
                    entry = self._entry(record)
                    if entry is not None and entry.partition == partition and entry.key == key:
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

            name = self._name_for(embedder, len(vector))
            if name not in self._names():
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
            entries = ((point.score, self._entry(point)) for point in found.points)
            return [(score, entry) for score, entry in entries if entry is not None]

        merged = {entry.key: (similarity, entry) for similarity, entry in own}
        for similarity, entry in self._asked(ask, []):
            if entry.partition == partition and (entry.key not in merged or merged[entry.key][1].at <= entry.at):
                merged[entry.key] = (similarity, entry)
        return sorted(merged.values(), key=lambda pair: -pair[0])[:limit]

    def _entry(self, point: Record | ScoredPoint) -> Entry | None:
        """The entry in a point; None for one that cannot be read, because another program wrote it."""
        try:
            return _entry(point)
        except Exception:  # noqa: BLE001 - a server may hold anything
            self.file_errors += 1
            return None

    # -- maintenance

    def forget(self, owner: str | None) -> int:
        """
        Delete here and on the server. Other processes may still have their own answers in memory.

        Raises:
            Exception: The client's error: then the entries are still on the server.
        """
        from qdrant_client import models

        gone = self._memory.forget(owner)
        whose = models.FieldCondition(key="owner", match=models.MatchValue(value=owner)) if owner is not None else None
        return max(gone, self._delete(whose))

    def _delete(self, condition: FieldCondition | None) -> int:
        """Delete only entries from the collections of this store."""
        from qdrant_client import models

        entry = models.FieldCondition(key=_KIND, match=models.MatchValue(value=_ENTRY))
        which = models.Filter(must=[entry] if condition is None else [entry, condition])
        most = 0
        for name in self._names(fresh=True):
            most = max(most, self._client.count(name, count_filter=which, exact=True).count)
            self._client.delete(name, models.FilterSelector(filter=which), wait=True)
        return most

    def close(self) -> None:
        """Do nothing: the client belongs to the caller."""

    def _asked(self, ask: Callable[[], Any], otherwise: Any) -> Any:
        """The server's answer, or `otherwise`; after an error the server is not asked for a while."""
        if time.monotonic() < self._resting_until:
            return otherwise
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - a server that is down, in any of its client's words
            if self._resting_until == 0.0 or isinstance(error, ForeignCollectionError):
                log("warning", "resilient_ai.store_failing", path=self._name, error=_in_words(error))
            self._resting_until = time.monotonic() + _REST_SECONDS
            self.file_errors += 1
            return otherwise

    def __repr__(self) -> str:
        return f"<QdrantStore {self._name!r}>"


def _in_words(error: Exception) -> str:
    # The client's own message may quote the request.
    return str(error) if isinstance(error, ForeignCollectionError) else type(error).__name__


def _id(partition: str, key: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{partition}:{key}"))


def _payload(entry: Entry) -> dict[str, Any]:
    return {
        _KIND: _ENTRY,
        "partition": entry.partition,
        "owner": entry.owner,
        "key": entry.key,
        "at": entry.at,
        "answer": entry.answer,
        "text": entry.text,
        "features": entry.features,
        "embedders": list(entry.vectors),
    }


def _entry(point: Record | ScoredPoint) -> Entry:
    import numpy as np

    kept = point.payload or {}
    texts = [kept[name] for name in ("partition", "owner", "key", "answer")]
    texts += [kept[name] for name in ("text", "features") if kept[name] is not None]
    if kept[_KIND] != _ENTRY or not all(isinstance(each, str) for each in texts):
        raise ValueError("a point that is no entry")
    return Entry(
        partition=kept["partition"],
        owner=kept["owner"],
        key=kept["key"],
        vectors={str(name): np.zeros(0, dtype=np.float32) for name in kept["embedders"]},
        answer=kept["answer"],
        at=float(kept["at"]),
        text=kept["text"],
        features=kept["features"],
    )
