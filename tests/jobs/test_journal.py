"""The journal of a job: what was answered is on disk before anybody sees it, and is not asked again."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from resilient_ai import classified_retry, degrade_to
from resilient_ai.jobs import run_all
from resilient_ai.jobs._journal import Journal
from resilient_ai.providers import Reply
from tests.helpers import ProviderError

pytestmark = pytest.mark.usefixtures("provider_errors")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Item:
    name: str


@pytest.fixture
def asked():
    return Counter()


@pytest.fixture
def ask(registry, asked):
    @classified_retry("ask", registry=registry)
    async def ask(item):
        asked[str(item)] += 1
        return f"answer to {item}"

    return ask


async def answers_of(job):
    return {str(outcome.item): outcome.answer async for outcome in job}


@pytest.mark.parametrize("items", [list(range(20)), ["a", "b"], [{"a": [1, None]}], [("a", 1)], [Item("a"), Item("b")]])
async def test_a_second_run_asks_nothing_and_gives_every_answer(ask, asked, tmp_path, items):
    first = await answers_of(run_all(ask, items, journal=tmp_path / "answers.db"))
    second = [outcome async for outcome in run_all(ask, items, journal=tmp_path / "answers.db")]

    assert {str(each.item): each.answer for each in second} == first
    assert set(asked.values()) == {1}
    assert {(each.attempts, each.seconds) for each in second} == {(0, 0.0)}


async def test_an_answer_is_on_disk_before_its_outcome_is_handed_out(ask, tmp_path):
    path = tmp_path / "answers.db"
    async with aclosing(run_all(ask, range(50), concurrency=7, journal=path)) as job:
        handed_out = 0
        async for _ in job:
            handed_out += 1
            with sqlite3.connect(path) as reader:
                written = reader.execute("SELECT count(*) FROM answers").fetchone()[0]
            reader.close()

            assert written >= handed_out


async def test_nobody_takes_an_answer_for_written_that_was_in_a_write_that_failed(tmp_path):
    path = tmp_path / "answers.db"
    journal = Journal(path, "ask", {})
    with sqlite3.connect(path) as database:
        database.execute("CREATE TRIGGER full BEFORE INSERT ON answers BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    database.close()
    failed = []

    async def keep(key):
        try:
            await journal.keep(key, "answer")
        except sqlite3.IntegrityError:
            failed.append(key)

    async with anyio.create_task_group() as group:
        for key in "abc":
            group.start_soon(keep, key)
    journal.close()

    assert sorted(failed) == ["a", "b", "c"]


async def test_what_was_left_in_the_middle_goes_on_where_it_was(ask, asked, tmp_path):
    path = tmp_path / "answers.db"
    async with aclosing(run_all(ask, range(100), concurrency=5, journal=path)) as job:
        async for outcome in job:
            if outcome.item == 40:
                break
    answered = sum(asked.values())
    found = await answers_of(run_all(ask, range(100), journal=path))

    assert len(found) == 100
    assert sum(asked.values()) <= 100 + 10  # what was in flight
    assert answered < 100


async def test_errors_and_fallbacks_are_not_written_down(registry, clock, tmp_path):
    failing = {"bad": "content_filter", "down": "model_overloaded"}

    @degrade_to("unavailable", registry=registry)
    async def ask(item):
        if item in failing:
            raise ProviderError(failing[item])
        return item

    async with clock.autojump():
        await answers_of(run_all(ask, ["good", "bad", "down"], journal=tmp_path / "answers.db", patience=5))
    failing.clear()
    found = [outcome async for outcome in run_all(ask, ["good", "bad", "down"], journal=tmp_path / "answers.db")]

    assert {each.item: each.attempts for each in found} == {"good": 0, "bad": 1, "down": 1}
    assert all(each.answer == each.item for each in found)


async def test_functions_share_a_file_without_sharing_answers(registry, tmp_path):
    async def one(item):
        return f"one {item}"

    async def two(item):
        return f"two {item}"

    path = tmp_path / "answers.db"

    assert await answers_of(run_all(one, ["a"], journal=path)) == {"a": "one a"}
    assert await answers_of(run_all(two, ["a"], journal=path)) == {"a": "two a"}


async def test_an_id_of_the_users_names_an_item(ask, asked, tmp_path):
    path, name_of = tmp_path / "answers.db", lambda item: item["id"]
    await answers_of(run_all(ask, [{"id": "1", "at": object()}], journal=path, id=name_of))
    await answers_of(run_all(ask, [{"id": "1", "at": object()}], journal=path, id=name_of))

    assert sum(asked.values()) == 1


async def test_an_item_without_a_value_says_what_to_pass(ask, tmp_path):
    with pytest.raises(TypeError, match="pass id=, a function that names an item"):
        await answers_of(run_all(ask, [object()], journal=tmp_path / "answers.db"))


async def test_an_answer_that_cannot_be_kept_says_what_to_return(tmp_path):
    async def ask(_item):
        return object()

    with pytest.raises(TypeError, match=r"the journal cannot keep a builtins\.object"):
        await answers_of(run_all(ask, [1], journal=tmp_path / "answers.db"))


async def test_answers_of_classes_come_back_as_what_they_were(tmp_path):
    async def annotated(item) -> Item:
        return Item(item)

    async def bare(item):
        return [Item(item), Reply("text", finish_reason="stop")]

    for ask, types in ((annotated, ()), (bare, (Item,))):
        first = await answers_of(run_all(ask, ["a"], journal=tmp_path / "answers.db", types=types))
        second = [each async for each in run_all(ask, ["a"], journal=tmp_path / "answers.db", types=types)]

        assert second[0].answer == first["a"]
        assert second[0].attempts == 0


async def test_a_class_that_could_not_be_read_back_is_told_before_more_is_paid(tmp_path):
    async def ask(item):
        return Item(item)

    with pytest.raises(TypeError, match="annotate its return type, or pass types="):
        await answers_of(run_all(ask, ["a", "b"], concurrency=1, journal=tmp_path / "answers.db"))


def test_a_journal_is_readable_by_its_owner_alone(ask, tmp_path):
    run_all(ask, [], journal=tmp_path / "answers.db")

    assert stat.S_IMODE((tmp_path / "answers.db").stat().st_mode) == 0o600


def another_database(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE invoices (id)")
    database.close()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (another_database, "another program's database"),
        (lambda path: path.write_text("hello, I am a letter and no database at all"), "is no journal"),
        (lambda path: path.mkdir(), "no regular file"),
        (lambda path: path.symlink_to("/etc/passwd"), "no regular file"),
        (os.mkfifo, "no regular file"),
    ],
    ids=["another database", "a letter", "a folder", "a link", "a pipe"],
)
def test_what_is_no_journal_is_left_alone_and_told_at_once(ask, tmp_path, make, told):
    path = tmp_path / "thing"
    make(path)
    before = path.lstat().st_mode, path.read_bytes() if path.is_file() else b""

    with pytest.raises(ValueError, match=told):
        run_all(ask, [], journal=path)
    assert (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"") == before


JOB = """
import os, signal, sys
import anyio
from resilient_ai import Registry, classified_retry
from resilient_ai.jobs import run_all
from resilient_ai.providers import Reply

path, asked, dies_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = open(asked, "a", buffering=1)

@classified_retry("ask", registry=Registry(listeners=()))
async def ask(item):
    log.write(f"{item}\\n")
    await anyio.lowlevel.checkpoint()
    return item * 2

async def main():
    done = 0
    async for outcome in run_all(ask, range(5_000), concurrency=50, journal=path):
        assert outcome.answer == outcome.item * 2
        done += 1
        print(outcome.item)
        if done == dies_at:
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)

anyio.run(main)
"""


def test_a_job_that_is_killed_asks_no_answered_item_again_and_misses_none(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(textwrap.dedent(JOB))
    path, asked = tmp_path / "answers.db", tmp_path / "asked"

    def run(dies_at):
        return subprocess.run(
            [sys.executable, script, path, asked, str(dies_at)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},  # this checkout's package, whichever is installed
        )

    killed = run(2_000)
    first = set(map(int, killed.stdout.split()))
    asked_before = Counter(map(int, asked.read_text().split()))
    resumed = run(0)
    asked_in_all = Counter(map(int, asked.read_text().split()))

    assert killed.returncode == -signal.SIGKILL
    assert len(first) == 2_000
    assert resumed.returncode == 0, resumed.stderr
    assert sorted(map(int, resumed.stdout.split())) == list(range(5_000))
    assert all(asked_in_all[item] == asked_before[item] for item in first)
    assert sum(asked_in_all.values()) - 5_000 <= 150  # what was in flight, or answered and not yet handed out


def test_a_journal_that_others_may_write_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "answers.db"
    path.touch()
    path.chmod(0o666)

    with pytest.raises(ValueError, match="may be written by others"):
        Journal(path, "ask", {})

    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert path.read_bytes() == b""


def test_an_empty_database_of_another_program_is_no_journal(tmp_path):
    path = tmp_path / "answers.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA application_id = 7")
        database.execute("CREATE TABLE t (x)")
        database.execute("DROP TABLE t")
    database.close()
    before = path.read_bytes()

    with pytest.raises(ValueError, match="another program's database"):
        Journal(path, "ask", {})

    assert path.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_a_journal_of_another_user_is_refused(tmp_path):
    path = tmp_path / "answers.db"
    path.touch(mode=0o600)
    os.chown(path, 12345, 12345)

    with pytest.raises(ValueError, match="belongs to another user"):
        Journal(path, "ask", {})
