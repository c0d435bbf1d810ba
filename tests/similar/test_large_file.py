"""A file for more than 20,000 answers: they stay in the file, and are found as well as in memory."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import tracemalloc

import anyio
import anyio.lowlevel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import NO_ANSWER
from resilient_ai._degrade_to.contract import FailedCall
from resilient_ai.similar import Entry, SimilarAnswers, SQLiteStore
from resilient_ai.similar._sqlite_rows import packed, unpacked
from resilient_ai.similar._sqlite_search import FileSearch

MANY = 50_000


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def clustered(count, dimensions=64):
    """Vectors in clusters, as questions are."""
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(max(1, count // 20), dimensions))
    return unit(centres[rng.integers(len(centres), size=count)] + 0.35 * rng.normal(size=(count, dimensions)))


def entry(key, vector=None, *, owner="o", partition="p", at=1.0, answer='"x"'):
    return Entry(partition, owner, str(key), {} if vector is None else {"e": vector}, answer, at)


def call(text="How can I reset my password?"):
    return FailedCall("bot.ask", (), {}, {"text": text}, now=0.0)


class Preparing(SQLiteStore):
    """Says when it prepares a partition, and does so only when it may."""

    def __init__(self, path, may):
        super().__init__(path, max_entries=MANY)
        self.may = may
        self.begun, self.done = threading.Event(), threading.Event()

    def prepare(self, partition):
        self.begun.set()
        assert self.may.wait(30)
        super().prepare(partition)
        self.done.set()


def keys(found):
    return [each.key for _, each in found]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.db"


@pytest.fixture
def opened(path):
    with contextlib.ExitStack() as stack:

        def open_store(**settings):
            store = SQLiteStore(path, **{"max_entries": MANY, "max_bytes": 1 << 30, **settings})
            stack.callback(store.close)
            return store

        yield open_store


def test_it_finds_what_a_plain_product_finds(opened):
    rows = clustered(2_500)
    store = opened()
    store.put([entry(number, row) for number, row in enumerate(rows)])
    for wanted in rows[:40]:
        products = rows @ wanted
        expected = np.sort(products[products >= 0.9])[::-1][:8]
        found = store.nearest("p", "e", wanted, 0.9, 8)

        assert [similarity for similarity, _ in found] == pytest.approx(expected.tolist(), abs=1e-5)
        assert all(products[int(each.key)] == pytest.approx(similarity, abs=1e-5) for similarity, each in found)


def test_memory_has_a_hundred_bytes_for_an_answer_and_not_the_answer(opened):
    rows = clustered(3_000)
    opened().put([entry(number, row, answer='"' + "much " * 40 + '"') for number, row in enumerate(rows)])
    reading = opened()
    tracemalloc.start()
    try:
        reading.nearest("p", "e", rows[0], 0.9, 8)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert kept < 100 * len(rows)


def test_what_one_writes_replaces_and_forgets_another_one_sees(opened):
    first, second, third = clustered(3)
    one, other = opened(), opened()
    one.put([entry("first", first), entry("second", second, owner="another")])

    assert keys(other.nearest("p", "e", first, 0.9, 8)) == ["first"]
    one.put([entry("first", third, at=2.0)])
    assert keys(other.nearest("p", "e", first, 0.9, 8)) == []
    assert keys(other.nearest("p", "e", third, 0.9, 8)) == ["first"]
    assert other.exact("p", "first").at == 2.0
    assert one.forget("o") == 1
    assert keys(other.nearest("p", "e", third, 0.9, 8)) == []
    assert other.exact("p", "first") is None
    assert keys(other.nearest("p", "e", second, 0.9, 8)) == ["second"]


def test_very_many_are_forgotten_in_parts_and_nothing_of_another_owner(opened):
    store, other = opened(), opened()
    store.put([entry(number) for number in range(5_200)])
    store.put([entry("theirs", owner="another")])

    assert other.forget("o") == 5_200
    assert len(store) == 1
    assert store.exact("p", "theirs") is not None
    assert store.forget(None) == 1


def test_partitions_and_embedders_do_not_mix(opened):
    (vector,) = clustered(1)
    store = opened()
    store.put([entry("mine", vector), entry("theirs", vector, partition="q")])
    store.put([Entry("p", "o", "of another embedder", {"f": vector}, '"x"', 1.0)])

    assert keys(store.nearest("p", "e", vector, 0.9, 8)) == ["mine"]
    assert keys(store.nearest("q", "e", vector, 0.9, 8)) == ["theirs"]
    assert keys(store.nearest("p", "f", vector, 0.9, 8)) == ["of another embedder"]
    assert keys(store.nearest("p", "e", clustered(1, 32)[0], 0.9, 8)) == []
    assert store.exact("q", "mine") is None


@given(st.lists(st.sampled_from([0.0, 0.0, -0.5, 0.25, 1.0]), max_size=200))
def test_a_vector_comes_back_as_it_was_whether_it_has_zeros_or_not(numbers):
    vector = unit(np.array([*numbers, 1.0]))
    back = unpacked(packed({"e": vector, "f": vector[::-1].copy()}))

    assert (back["e"] == vector).all()
    assert (back["f"] == vector[::-1]).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_totals_are_those_of_the_entries_and_the_bounds_hold(path, seed):
    """Whatever is put, replaced, forgotten or too old; `make_room` goes by the totals."""
    rng = random.Random(seed)
    store = SQLiteStore(path, max_entries=40, max_bytes=60_000, max_age=50)
    for step in range(120):
        if rng.random() < 0.05:
            store.forget(rng.choice(["a", "b", None]))
        many = rng.choice([1, 1, 5, 30])
        store.put(
            [entry(rng.randrange(60), owner=rng.choice("aabc"), at=float(step), answer="x" * rng.randrange(2_000))]
            * rng.choice([1, 2])
            + [entry(rng.randrange(60), owner=rng.choice("aabc"), at=float(step)) for _ in range(many)]
        )
    store.close()
    file = sqlite3.connect(path)
    counted = dict(file.execute("SELECT owner, count(*) FROM entries GROUP BY owner"))
    kept = {owner: (entries, size) for owner, entries, size in file.execute("SELECT * FROM totals")}
    total = file.execute("SELECT count(*), sum(size) FROM entries").fetchone()
    file.close()

    assert kept.pop("") == total
    assert {owner: entries for owner, (entries, _) in kept.items()} == counted
    assert total[0] <= 40
    assert total[1] <= 60_000


def test_totals_that_somebody_else_made_wrong_are_counted_anew(path):
    store = SQLiteStore(path, max_entries=10)
    store.put([entry(number) for number in range(10)])
    file = sqlite3.connect(path)
    file.execute("UPDATE totals SET entries = 5000 WHERE owner = ''")
    file.execute("DELETE FROM totals WHERE owner = 'o'")
    file.commit()
    file.close()
    store.put([entry("new")])

    assert store.exact("p", "new") is not None
    assert len(store) == 10
    store.close()


def test_while_another_process_writes_answers_are_found_and_nothing_is_lost(path):
    with SimilarAnswers(path, embedder="trigrams", max_entries=MANY) as memory:
        memory.remember(call(), "Open Settings.")
        memory.flush()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        memory.remember(call("Who may open the gate?"), "You.")

        async def answers():
            said = []
            for text in ("how do I reset the password", "Who may open the gate?", "who can open the gate"):
                found = memory.recall(call(text))
                found = await found if hasattr(found, "__await__") else found
                said.append(None if found is NO_ANSWER else found.answer)
            return said

        assert not memory.flush(0.1)
        assert anyio.run(answers) == ["Open Settings.", "You.", "You."]
        other.execute("COMMIT")
        other.close()
        assert memory.flush(30)
        assert memory.stats().store_errors == 0
    with contextlib.closing(SQLiteStore(path)) as store:
        assert len(store) == 2


def test_while_the_file_cannot_be_written_flush_says_so_and_what_is_too_much_is_counted(path):
    store = SQLiteStore(path, max_entries=MANY)
    with SimilarAnswers(store=store, embedder="trigrams") as memory:
        path.unlink()
        path.mkdir()
        memory.remember(call(), "Open Settings.")

        assert not memory.flush()
        assert memory.stats().store_errors > 0
        store.put([entry(number) for number in range(1_200)])
        assert memory.stats().dropped == 201
        assert store.exact("p", "1199") is not None
        path.rmdir()
        store.put([entry("new")])
        assert memory.flush()
        assert len(store) == 1_001


# -- processes

WRITER = """
    import sys, time
    from resilient_ai._degrade_to.contract import FailedCall
    from resilient_ai.similar import SimilarAnswers

    def call(text):
        return FailedCall("bot.ask", (), {}, {"text": text}, now=time.monotonic())

    memory = SimilarAnswers(sys.argv[1], embedder="trigrams", max_entries=50_000)
"""


def python(code, *arguments):
    source = textwrap.dedent(WRITER) + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", source, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def missing(path, texts):
    async def look():
        gone = []
        with SimilarAnswers(path, embedder="trigrams", max_entries=MANY) as memory:
            for text in texts:
                found = memory.recall(FailedCall("bot.ask", (), {}, {"text": text}, now=0.0))
                found = await found if hasattr(found, "__await__") else found
                if found is NO_ANSWER or found.answer != text:
                    gone.append(text)
            assert memory.stats().store_errors == 0
        return gone

    return anyio.run(look)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_kill_9_in_the_middle_of_writing_loses_nothing_that_was_acknowledged(path):
    rng = random.Random(3)
    for turn in range(3):
        process = python(
            f"""
            for number in range(10**6):
                text = f"What does part {turn}-{{number}} cost?"
                memory.remember(call(text), text)
                if number % 3 == 2 and memory.flush(30):
                    print(number, flush=True)
            """,
            path,
        )
        stop, last = rng.randrange(5, 120), -1
        for line in process.stdout:
            last = int(line)
            if last >= stop:
                break
        os.kill(process.pid, signal.SIGKILL)
        last = max([last, *map(int, process.communicate()[0].split())])

        assert missing(path, [f"What does part {turn}-{number} cost?" for number in range(last + 1)]) == []


@pytest.mark.slow
@pytest.mark.parametrize(("count", "memories"), [(50, 1), (10, 5)])
def test_fifty_memories_in_many_processes_write_to_one_file_at_once_and_nothing_is_lost(path, count, memories):
    processes = [
        python(
            f"""
            import threading
            def write(name):
                with SimilarAnswers(sys.argv[1], embedder="trigrams", max_entries=50_000) as mine:
                    for number in range(6):
                        text = f"What does item {{name}}-{{number}} cost?"
                        mine.remember(call(text), text)
                        assert mine.flush(60)
                    print(f"{{mine.stats().store_errors}}\\n", end="")
            threads = [threading.Thread(target=write, args=[name]) for name in range({first}, {first + memories})]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            """,
            path,
        )
        for first in range(0, count * memories, memories)
    ]
    errors = [process.communicate(timeout=120)[0].split() for process in processes]

    assert errors == [["0"] * memories] * count
    assert missing(path, [f"What does item {name}-{number} cost?" for name in range(50) for number in range(6)]) == []


async def test_what_a_question_would_wait_for_is_read_after_a_write_and_no_write_waits_for_it(path):
    may = threading.Event()
    with SimilarAnswers(store=(store := Preparing(path, may)), embedder="trigrams") as memory:
        memory.remember(call(), "Open Settings.")

        assert store.begun.wait(30)
        assert memory.flush(30)
        may.set()
        assert store.done.wait(30)
        found = memory.recall(call("how can I reset my password"))
        found = await found if hasattr(found, "__await__") else found
        assert found.answer == "Open Settings."


@pytest.mark.parametrize("hurried", [True, False], ids=["hurry", "question"])
def test_who_reads_beforehand_rests_until_somebody_asks(opened, path, hurried):
    rows = clustered(25_000, 16)  # more than one part
    store = opened()
    for start in range(0, len(rows), 5_000):
        store.put([entry(number, rows[number]) for number in range(start, start + 5_000)])
    reads = threading.Semaphore(0)

    @contextlib.contextmanager
    def reading():
        yield connection
        reads.release()

    with contextlib.closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        search = FileSearch(reading, lambda: None, rest=1e6)  # for hours
        preparing = threading.Thread(target=search.prepare, args=("p",), daemon=True)
        preparing.start()
        assert reads.acquire(timeout=30)
        if hurried:
            search.hurry()
        else:
            search.nearest("p", "e", rows[-1], 0.999, 1, [])
        preparing.join(30)

        assert not preparing.is_alive()
        assert keys(search.nearest("p", "e", rows[-1], 0.999, 1, [])) == ["24999"]


def test_what_cannot_be_read_before_a_question_is_counted(path):
    class Broken(Preparing):
        def prepare(self, partition):
            self.begun.set()
            raise OSError("the disk is gone")

    with SimilarAnswers(store=(store := Broken(path, None)), embedder="trigrams") as memory:
        memory.remember(call(), "Open Settings.")
        assert store.begun.wait(30)

    assert memory.stats().store_errors == 1


@pytest.mark.parametrize("entries", [MANY, 10])
def test_a_partition_is_prepared_once_it_has_been_read_and_always_where_answers_are_in_memory(path, entries):
    store = SQLiteStore(path, max_entries=entries)
    with contextlib.closing(store):
        store.put([entry("first", clustered(1)[0])])

        assert store.prepared("p") == (entries == 10)
        store.prepare("p")
        assert store.prepared("p")


async def test_fifty_tasks_remember_at_once_and_nothing_is_lost(path):
    with SimilarAnswers(path, embedder="trigrams", max_entries=MANY) as memory:

        async def remember(name):
            for number in range(10):
                memory.remember(call(f"What does item {name}-{number} cost?"), f"{name} {number}")
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            for name in range(50):
                group.start_soon(remember, name)
        assert memory.flush(30)
        assert memory.stats().entries == 500
        assert memory.stats().dropped == memory.stats().store_errors == 0
