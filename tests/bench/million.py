"""
Similar answers at size: how long a store with many remembered questions takes to open, to look up and to write.

    python -m tests.bench.million --size 20000 [100000 1000000]      a million takes half an hour, most of it to build
    python -m tests.bench.million --size 100000 --memory             in memory alone

Every row is measured in a process of its own. `--dir` keeps the files for the next run. In Qdrant: `million_qdrant.py`.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from resilient_ai._degrade_to.contract import Recalled
from resilient_ai.similar import MemoryStore, SimilarAnswers, SQLiteStore
from tests.bench.million_questions import ANSWER, Questions, call, entries

LOOKUPS = 300
WRITES = 200


def bounds(size: int) -> dict[str, Any]:
    return {"max_entries": 2 * size + 100_000, "max_bytes": 1 << 36, "max_age": 10 * 86_400.0}


def memory_on(path: Path, size: int) -> SimilarAnswers:
    return SimilarAnswers(path, embedder="trigrams", **bounds(size))


def resident() -> float:
    """MiB in use by this process now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / (1 << 20)


def percentiles(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3}


async def answer(memory: SimilarAnswers, text: str) -> Any:
    found = memory.recall(call(text))
    found = await found if hasattr(found, "__await__") else found
    return found.answer if isinstance(found, Recalled) else None


# -- what is measured, each in a process of its own


def build(path: Path, size: int, first: int, last: int) -> dict[str, Any]:
    store = SQLiteStore(path, **bounds(size))
    for chunk in entries(range(first, last), Questions()):
        store.put(chunk)
    store.close()
    return {"errors": store.file_errors}


def start(path: Path, size: int) -> dict[str, Any]:
    """Open the store and ask once; then once more, in other words."""
    questions, before, begun = Questions(), resident(), time.perf_counter()
    memory = memory_on(path, size)
    opened = time.perf_counter() - begun

    async def ask() -> tuple[float, float, int]:
        begun, found = time.perf_counter(), 0
        found += await answer(memory, questions.asked(7)) == ANSWER
        first = time.perf_counter() - begun
        for _ in range(600):  # a lookup gives up after a while, and the next one goes on
            if await answer(memory, questions.in_other_words(11)) == ANSWER:
                break
        return first, time.perf_counter() - begun, found

    first, similar, found = anyio.run(ask)
    mib = resident() - before
    memory.close()
    return {"open": opened, "same": first, "similar": similar, "found": found, "MiB": mib}


class Beat:
    """
    How long the event loop was held: by the clock, and by what the processor did for this process meanwhile.

    Where others want the processor too, the clock says how long the machine lets a process wait. A loop that is late
    while its process computes nothing is kept by nobody here: the lesser of both is what a lookup can have held it.
    """

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        self.late = self.at_work = self.own = 0.0  # seconds: by the clock; of CPU; of CPU in the loop's thread

    async def __call__(self) -> None:
        while True:
            clock, work, own = time.perf_counter(), time.process_time(), time.thread_time()
            await anyio.sleep(0.001)
            late = time.perf_counter() - clock - 0.001
            self.late = max(self.late, late)
            self.at_work = max(self.at_work, min(late, time.process_time() - work))
            self.own = max(self.own, time.thread_time() - own)

    def found(self) -> dict[str, float]:
        return {"held": self.late * 1e3, "held at work": self.at_work * 1e3, "own": self.own * 1e3}


def lookups(memory: SimilarAnswers, size: int) -> dict[str, Any]:
    """One after the other: the same question, other words, what nobody has asked; and how long the loop was held."""
    questions, rng = Questions(), random.Random(5)
    numbers = rng.sample(range(size), LOOKUPS)
    beat = Beat()

    async def timed(texts: list[str]) -> tuple[dict[str, float], int]:
        took, hits, cpu = [], 0, time.process_time()
        for text in texts:
            begun = time.perf_counter()
            hits += await answer(memory, text) is not None
            took.append(time.perf_counter() - begun)
            await anyio.lowlevel.checkpoint()
        return {**percentiles(took), "cpu": (time.process_time() - cpu) / len(texts) * 1e3}, hits

    async def read() -> None:
        for _ in range(600):  # until the store has what it needs in memory
            if await answer(memory, questions.in_other_words(11)) is not None:
                break

    async def main() -> dict[str, Any]:
        kinds = {
            "same": [questions.asked(number) for number in numbers],
            "other words": [questions.in_other_words(number) for number in numbers],
            "miss": [questions.asked(10**9 + number) for number in numbers],
        }
        found: dict[str, Any] = {}
        async with anyio.create_task_group() as group:
            group.start_soon(beat)
            await read()
            found["read"] = beat.found()
            for kind, texts in kinds.items():
                beat.start_over()
                times, hits = await timed(texts)
                found[kind] = {**times, "hits": hits, **beat.found()}
            group.cancel_scope.cancel()
        return found

    return anyio.run(main)


def writes(memory: SimilarAnswers, size: int) -> dict[str, Any]:
    """One answer at a time until it is in the store, then 5,000 as fast as it takes them."""
    questions = Questions()
    offered, stored = [], []
    for number in range(2 * size, 2 * size + WRITES):
        asked = call(questions.asked(number))
        begun = time.perf_counter()
        memory.remember(asked, ANSWER)
        offered.append(time.perf_counter() - begun)
        assert memory.flush(60)
        stored.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    for number in range(2 * size + WRITES, 2 * size + WRITES + 5_000):
        memory.remember(call(questions.asked(number)), ANSWER)
        if number % 500 == 0:
            memory.flush(60)
    memory.flush(60)
    rate = 5_000 / (time.perf_counter() - begun)
    return {
        "offer": percentiles(offered),
        "stored": percentiles(stored),
        "rate": rate,
        "dropped": memory.stats().dropped,
    }


def in_memory(size: int) -> dict[str, Any]:
    """What a process without a file needs, and the lookups in it."""
    before, begun = resident(), time.perf_counter()
    store = MemoryStore(max_entries=2 * size, max_bytes=1 << 36)
    for chunk in entries(range(size), Questions()):
        store.put(chunk)
    built = time.perf_counter() - begun
    with SimilarAnswers(store=store, embedder="trigrams") as memory:
        return {**lookups(memory, size), "built": built, "MiB": resident() - before}


def keep_writing(path: Path, size: int, first: int) -> None:
    """Until killed; prints the number up to which everything is acknowledged."""
    memory, questions = memory_on(path, size), Questions()
    print("begun", flush=True)
    for number in range(first, first + 10**6):
        memory.remember(call(questions.asked(number)), ANSWER)
        if number % 7 == 6 and memory.flush(60):
            print(number, flush=True)


def write_some(path: Path, size: int, first: int, last: int) -> dict[str, Any]:
    """One of many writers: every answer acknowledged before the next; the longest wait for that."""
    begun = time.perf_counter()
    memory, questions, longest = memory_on(path, size), Questions(), 0.0
    opened = time.perf_counter() - begun
    acknowledged = []
    for number in range(first, last):
        begun = time.perf_counter()
        memory.remember(call(questions.asked(number)), ANSWER)
        if memory.flush(120):
            acknowledged.append(number)
        longest = max(longest, time.perf_counter() - begun)
    errors = memory.stats().store_errors
    memory.close()
    return {"opened": opened, "longest": longest, "acknowledged": acknowledged, "errors": errors}


def all_there(path: Path, size: int, numbers: list[int]) -> dict[str, Any]:
    begun = time.perf_counter()
    memory, questions = memory_on(path, size), Questions()
    opened = time.perf_counter() - begun

    async def lost() -> list[int]:
        for _ in range(60):
            if await answer(memory, questions.asked(7)) is not None:
                break
        first = time.perf_counter() - begun
        gone = [number for number in numbers if await answer(memory, questions.asked(number)) is None]
        return [first, *gone]  # type: ignore[list-item]

    first, *gone = anyio.run(lost)
    memory.close()
    return {"opened": opened, "answers": first, "lost": gone}


# -- the processes


def command(kind: str, path: Path, size: int, *more: object) -> list[str]:
    return [sys.executable, "-m", "tests.bench.million", "--child", kind, str(path), str(size), *map(str, more)]


def started(kind: str, path: Path, size: int, *more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(command(kind, path, size, *more), stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate(timeout=3_600)
    if process.returncode:
        raise RuntimeError(f"a child ended with {process.returncode}")
    return json.loads(out.splitlines()[-1])


def child(kind: str, path: Path, size: int, more: list[str]) -> None:
    numbers = [int(each) for each in more if each.isdigit()]
    if kind == "keep_writing":
        keep_writing(path, size, numbers[0])
        return
    if kind in ("lookups", "writes"):
        memory = memory_on(path, size)
        result = (lookups if kind == "lookups" else writes)(memory, size)
        result["MiB"] = resident()
        memory.close()
    elif kind == "all_there":
        result = all_there(path, size, json.loads(sys.stdin.read()))
    elif kind == "in_memory":
        result = in_memory(size)
    elif kind == "start":
        result = start(path, size)
    else:
        result = {"build": build, "write_some": write_some}[kind](path, size, numbers[0], numbers[1])
    print(json.dumps(result))


def check(path: Path, size: int, numbers: list[int]) -> Any:
    process = subprocess.run(
        command("all_there", path, size), input=json.dumps(numbers), capture_output=True, text=True, check=True
    )
    return json.loads(process.stdout.splitlines()[-1])


def killed(path: Path, size: int, round_: int) -> dict[str, Any]:
    """kill -9 in the middle of writing, three times in a row on one file."""
    first = 3 * size + 1_000_000 * (round_ + 1)
    process = started("keep_writing", path, size, first)
    assert process.stdout is not None
    acknowledged = first - 1
    least = first + random.Random(round_).randint(300, 900)
    for line in process.stdout:
        if line.strip().isdigit():
            acknowledged = int(line)
        if acknowledged >= least:
            break
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    acknowledged = max([acknowledged, *(int(each) for each in rest if each.isdigit())])
    found = check(path, size, list(range(first, acknowledged + 1)))
    return {**found, "acknowledged": acknowledged + 1 - first, "lost": len(found["lost"])}


def writers(path: Path, size: int, many: int, each: int) -> dict[str, Any]:
    base = 8 * size + 10**8
    begun = time.perf_counter()
    processes = [started("write_some", path, size, base + n * each, base + (n + 1) * each) for n in range(many)]
    results = [ended(process) for process in processes]
    seconds = time.perf_counter() - begun
    numbers = [number for result in results for number in result["acknowledged"]]
    found = check(path, size, numbers)
    return {
        "seconds": seconds,
        "acknowledged": len(numbers),
        "of": many * each,
        "lost": len(found["lost"]),
        "longest": max(result["longest"] for result in results),
        "opened": max(result["opened"] for result in results),
        "errors": sum(result["errors"] for result in results),
    }


def sqlite(size: int, folder: Path, many: int) -> None:
    path = folder / f"answers-{size}.db"
    print(f"\nSQLite, {size:,} remembered questions", flush=True)
    if not path.exists():
        begun = time.perf_counter()
        half = size // 2
        building = [started("build", path, size, *cut) for cut in ((0, half), (half, size))]
        errors = sum(ended(process)["errors"] for process in building)
        print(f"  built by two processes in {time.perf_counter() - begun:.0f} s, {errors} errors of the file")
    print(f"  file {sum(each.stat().st_size for each in folder.glob(path.name + '*')) / (1 << 20):,.0f} MiB")
    found = ended(started("start", path, size))
    print(
        f"  start: open {found['open'] * 1e3:,.0f} ms, the same question answered after {found['same'] * 1e3:,.0f} ms,"
        f" a similar one after {found['similar'] * 1e3:,.0f} ms; {found['MiB']:,.0f} MiB",
        flush=True,
    )
    shown(ended(started("lookups", path, size)), ended(started("writes", path, size)))
    for round_ in range(3):
        found = killed(path, size, round_)
        print(
            f"  kill -9: {found['lost']} of {found['acknowledged']} acknowledged answers lost,"
            f" opens in {found['opened'] * 1e3:,.0f} ms, answers after {found['answers'] * 1e3:,.0f} ms",
            flush=True,
        )
    found = writers(path, size, many, 20)
    print(
        f"  {many} processes write 20 each: {found['acknowledged']} of {found['of']} acknowledged in"
        f" {found['seconds']:.0f} s, {found['lost']} of them lost, longest wait {found['longest']:.1f} s,"
        f" longest opening {found['opened']:.1f} s, {found['errors']} errors of the file",
        flush=True,
    )


def memory_alone(size: int) -> None:
    print(f"\nIn memory, {size:,} remembered questions", flush=True)
    found = ended(started("in_memory", Path(), size))
    print(f"  put in {found['built']:.0f} s, {found['MiB']:,.0f} MiB")
    shown_lookups(found)


def shown_lookups(looked: dict[str, Any]) -> None:
    print(f"  until it has read what it needs: {_held(looked['read'])}")
    for kind in ("same", "other words", "miss"):
        row = looked[kind]
        print(
            f"  lookup, {kind:12} p50 {row['p50']:8.2f} ms  p99 {row['p99']:8.2f} ms  CPU {row['cpu']:6.2f} ms"
            f"  answered {row['hits']:3} of {LOOKUPS}  {_held(row)}"
        )


def _held(row: dict[str, float]) -> str:
    return (
        f"loop held at most {row['held']:6.1f} ms ({row['held at work']:.1f} of them at work here,"
        f" {row['own']:.1f} in the loop)"
    )


def shown(looked: dict[str, Any], wrote: dict[str, Any]) -> None:
    shown_lookups(looked)
    print(f"  memory after the lookups {looked['MiB']:,.0f} MiB, after the writes {wrote['MiB']:,.0f} MiB")
    print(
        f"  write: remember() p50 {wrote['offer']['p50']:.2f} ms, p99 {wrote['offer']['p99']:.2f} ms; stored p50"
        f" {wrote['stored']['p50']:.1f} ms, p99 {wrote['stored']['p99']:.1f} ms; {wrote['rate']:,.0f} a second,"
        f" {wrote['dropped']} dropped",
        flush=True,
    )


def main() -> None:
    if "--child" in sys.argv:
        at = sys.argv.index("--child")
        kind, path, size, *more = sys.argv[at + 1 :]
        child(kind, Path(path), int(size), more)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="+", default=[20_000])
    parser.add_argument("--writers", type=int, default=50)
    parser.add_argument("--dir", type=Path)
    parser.add_argument("--memory", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for size in chosen.size:
            if chosen.memory:
                memory_alone(size)
                continue
            sqlite(size, chosen.dir or Path(temporary), chosen.writers)


if __name__ == "__main__":
    main()
