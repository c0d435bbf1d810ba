"""
Similar answers at size in Qdrant: opening, lookups, writes, kill -9.

    pip install qdrant-edge-py
    python -m tests.bench.million_qdrant --size 20000 [100000 1000000]      Qdrant's engine
    python -m tests.bench.million_qdrant --size 20000 --local               the local mode of qdrant-client

qdrant-edge-py is the engine of the Qdrant server as a library, with its segments, its HNSW index and its write-ahead
log: what a server does, less HTTP. The store is `QdrantStore`; a small client translates its calls.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio

from resilient_ai.similar import QdrantStore, SimilarAnswers
from tests.bench.million import answer, lookups, resident, shown, writes
from tests.bench.million_questions import ANSWER, Questions, call, entries


class Engine:
    """The part of `QdrantClient` that `QdrantStore` calls, on the engine in this process."""

    def __init__(self, folder: Path) -> None:
        self._edge: Any = importlib.import_module("qdrant_edge")
        self._folder = folder
        self._shards = {path.name: self._edge.EdgeShard.load(str(path)) for path in folder.glob("*") if path.is_dir()}

    def get_collections(self) -> Any:
        return SimpleNamespace(collections=[SimpleNamespace(name=name) for name in self._shards])

    def collection_exists(self, name: str) -> bool:
        return name in self._shards

    def create_collection(self, name: str, vectors_config: Any) -> None:
        edge = self._edge
        config = edge.EdgeConfig(vectors=edge.EdgeVectorParams(size=vectors_config.size, distance=edge.Distance.Cosine))
        self._shards[name] = edge.EdgeShard.create(str(self._folder / name), config)

    def create_payload_index(self, name: str, field: str, schema: Any) -> None:
        kinds = self._edge.PayloadSchemaType
        kind = kinds.Float if str(schema).lower().endswith("float") else kinds.Keyword
        self._shards[name].update(self._edge.UpdateOperation.create_field_index(field, kind))

    def upsert(self, name: str, points: Any, wait: bool) -> None:
        made = [self._edge.Point(point.id, point.vector, point.payload) for point in points]
        self._shards[name].update(self._edge.UpdateOperation.upsert_points(made))

    def retrieve(self, name: str, ids: Any, with_payload: bool) -> Any:
        return self._shards[name].retrieve(ids, with_payload, False)

    def query_points(
        self, name: str, *, query: Any, query_filter: Any, score_threshold: float, limit: int, with_payload: bool
    ) -> Any:
        request = self._edge.QueryRequest(
            limit=limit,
            query=self._edge.Query.Nearest(query),
            with_payload=with_payload,
            filter=self._filter(query_filter),
            score_threshold=score_threshold,
        )
        return SimpleNamespace(points=self._shards[name].query(request))

    def count(self, name: str, count_filter: Any = None, exact: bool = True) -> Any:
        request = self._edge.CountRequest(exact=exact, filter=count_filter and self._filter(count_filter))
        return SimpleNamespace(count=self._shards[name].count(request))

    def delete(self, name: str, selector: Any, wait: bool) -> None:
        gone = self._edge.UpdateOperation.delete_points_by_filter(self._filter(selector.filter))
        self._shards[name].update(gone)

    def _filter(self, given: Any) -> Any:
        made = []
        for each in given.must:
            match = self._edge.MatchValue(each.match.value) if each.match else None
            bounds = self._edge.RangeFloat(lt=each.range.lt) if each.range else None
            made.append(self._edge.FieldCondition(each.key, match=match, range=bounds))
        return self._edge.Filter(must=made)

    def optimize(self) -> None:
        for shard in self._shards.values():
            shard.optimize()

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()


def opened(folder: Path, *, local: bool) -> Any:
    if not local:
        return Engine(folder)
    from qdrant_client import QdrantClient

    warnings.filterwarnings("ignore", message="Local mode is not recommended")
    return QdrantClient(path=str(folder))


def memory_on(client: Any) -> SimilarAnswers:
    return SimilarAnswers(store=QdrantStore(client, max_age=10 * 86_400.0), embedder="trigrams")


def build(client: Any, size: int) -> dict[str, Any]:
    store, begun = QdrantStore(client, max_age=None, max_entries=1), time.perf_counter()
    for chunk in entries(range(size), Questions()):
        store.put(chunk)
    put = time.perf_counter() - begun
    if isinstance(client, Engine):
        client.optimize()
    return {"put": put, "index": time.perf_counter() - begun - put, "MiB": resident(), "errors": store.file_errors}


def keep_writing(client: Any, first: int) -> None:
    memory, questions = memory_on(client), Questions()
    for number in range(first, first + 10**6):
        memory.remember(call(questions.asked(number)), ANSWER)
        if number % 7 == 6 and memory.flush(60) and not memory.stats().store_errors:
            print(number, flush=True)


def all_there(client: Any, first: int, last: int) -> dict[str, Any]:
    memory, questions = memory_on(client), Questions()

    async def lost() -> int:
        return sum([await answer(memory, questions.asked(number)) is None for number in range(first, last)])

    return {"lost": anyio.run(lost)}


def child(kind: str, folder: Path, size: int, *numbers: str) -> None:
    local, begun = folder.name.startswith("local"), time.perf_counter()
    client = opened(folder, local=local)
    took = time.perf_counter() - begun
    first, last = (int(each) for each in numbers or ("0", "0"))
    if kind == "keep_writing":
        keep_writing(client, first)
        return
    result: dict[str, Any]
    if kind in ("lookups", "writes"):
        memory = memory_on(client)
        result = (lookups if kind == "lookups" else writes)(memory, size)
        result["MiB"] = resident()
        memory.close()
    else:
        result = build(client, size) if kind == "build" else all_there(client, first, last)
    client.close()
    print(json.dumps({"open": took, **result}))


def started(kind: str, folder: Path, size: int, *numbers: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "tests.bench.million_qdrant", "--child", kind, str(folder), str(size)]
    return subprocess.Popen([*arguments, *map(str, numbers)], stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate(timeout=7_200)
    if process.returncode:
        raise RuntimeError(f"a child ended with {process.returncode}")
    return json.loads(out.splitlines()[-1])


def killed(folder: Path, size: int) -> str:
    first = 3 * size + 10**6
    process = started("keep_writing", folder, size, first, 0)
    assert process.stdout is not None
    acknowledged, least = first - 1, first + random.Random(size).randint(200, 500)
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged >= least:
            break
    process.send_signal(signal.SIGKILL)
    acknowledged = max([acknowledged, *map(int, process.communicate()[0].split())])
    found = ended(started("all_there", folder, size, first, acknowledged + 1))
    return f"{found['lost']} of {acknowledged + 1 - first} acknowledged lost, opens in {found['open'] * 1e3:,.0f} ms"


def main() -> None:
    if "--child" in sys.argv:
        kind, folder, size, *numbers = sys.argv[sys.argv.index("--child") + 1 :]
        child(kind, Path(folder), int(size), *numbers)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="+", default=[20_000])
    parser.add_argument("--local", action="store_true")
    chosen = parser.parse_args()
    for size in chosen.size:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / ("local" if chosen.local else "engine")
            folder.mkdir()
            print(f"\nQdrant, {folder.name}, {size:,} remembered questions", flush=True)
            made = ended(started("build", folder, size))
            print(f"  put in {made['put']:.0f} s, indexed in {made['index']:.0f} s, {made['MiB']:,.0f} MiB", flush=True)
            looked = ended(started("lookups", folder, size))
            print(f"  opens in {looked['open'] * 1e3:,.0f} ms", flush=True)
            shown(looked, ended(started("writes", folder, size)))
            print(f"  kill -9: {killed(folder, size)}", flush=True)


if __name__ == "__main__":
    main()
