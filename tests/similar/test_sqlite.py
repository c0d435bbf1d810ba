"""The file: it survives restarts, crashes, damage, a full disk and company."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time

import pytest

from resilient_ai import NO_ANSWER
from resilient_ai._degrade_to.contract import FailedCall, Recalled
from resilient_ai.similar import SimilarAnswers

NUMBER = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def call(text="How can I reset my password?", **arguments):
    return FailedCall("bot.ask", (), {}, {"text": text, **arguments}, now=time.monotonic())


def answer(memory, asked):
    """What the memory says, whether it says it at once or has to look into the file."""
    import anyio

    async def ask():
        found = memory.recall(asked)
        return found if isinstance(found, Recalled) or found is NO_ANSWER else await found

    found = anyio.run(ask)
    return found.answer if isinstance(found, Recalled) else None


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.db"


@pytest.fixture(params=[10_000, 50_000], ids=["in memory too", "in the file alone"])
def opened(path, request):
    """Opens memories on the file and closes them in the end."""
    made = []

    def open_memory(**settings):
        made.append(SimilarAnswers(path, **{"embedder": "trigrams", "max_entries": request.param, **settings}))
        return made[-1]

    yield open_memory
    for memory in made:
        memory.close()


def run(code, *arguments, wait=True, **kwargs):
    """A process of its own that has `memory`, `call` and `answer` at hand."""
    prelude = f"""
        import os, sys, time
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from resilient_ai.similar import SimilarAnswers
        from test_sqlite import call, answer
        memory = SimilarAnswers(sys.argv[1], embedder="trigrams")
    """
    source = textwrap.dedent(prelude) + textwrap.dedent(code)
    process = subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )
    if not wait:
        return process
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def test_answers_survive_a_restart(opened):
    first = opened()
    first.remember(call(), "Open Settings.")
    first.close()

    assert answer(opened(), call("how do I reset the password")) == "Open Settings."


def test_the_age_of_an_answer_survives_a_restart(opened):
    first = opened(max_age=3_600)
    first.remember(call(), "Open Settings.")
    first.close()
    later = FailedCall("bot.ask", (), {}, {"text": "How can I reset my password?"}, now=0.0)
    second = opened(max_age=3_600)

    assert answer(second, later) == "Open Settings."
    assert answer(second, FailedCall("bot.ask", (), {}, dict(later.arguments), now=3_700.0)) is None


def test_the_file_and_its_log_are_for_the_owner_alone(opened, path):
    memory = opened()
    memory.remember(call(), "Open Settings.")
    memory.flush()
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert modes
    assert set(modes.values()) == {0o600}


def test_without_stored_text_the_words_are_not_in_the_file(opened, path):
    memory = opened(store_text=False)
    memory.remember(call("How can I reset my zebracorn?"), "Open Settings.")
    memory.close()

    assert b"zebracorn" not in path.read_bytes()
    assert answer(opened(store_text=False), call("how do I reset the zebracorn")) == "Open Settings."


def test_what_was_written_survives_a_kill_in_the_middle_of_writing(opened, path):
    process = run(
        """
        for number in range(100_000):
            memory.remember(call(f"What does part {number} cost?"), f"{number} dollars")
            if number % 100 == 99:
                memory.flush()
                print(number, flush=True)
        """,
        path,
        wait=False,
    )
    written = -1
    for line in process.stdout:
        written = int(line)
        if written >= 399:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()
    memory = opened()

    assert [answer(memory, call(f"What does part {n} cost?")) for n in (0, 7, written)] == [
        "0 dollars",
        "7 dollars",
        f"{written} dollars",
    ]


def test_processes_share_the_file_and_see_each_others_answers(opened, path):
    memory = opened()
    memory.remember(call("Who may open the gate?"), "mine")
    memory.flush()
    assert answer(memory, call("Who may open the gate?")) == "mine"
    workers = [
        run(
            f"""
            for number in range(50):
                memory.remember(call(f"What does item {word}-{{number}} cost?"), f"{word} {{number}}")
            assert memory.flush(30)
            print(answer(memory, call("Who may open the gate?")))
            """,
            path,
            wait=False,
        )
        for word in NUMBER[:4]
    ]
    said = [worker.communicate(timeout=60) for worker in workers]

    assert [out.strip() for out, _ in said] == ["mine"] * 4
    for word in NUMBER[:4]:
        for number in range(50):
            assert answer(memory, call(f"What does item {word}-{number} cost?")) == f"{word} {number}"


def test_what_one_process_forgets_every_process_forgets(opened, path):
    memory = opened()
    memory.remember(call(), "Open Settings.")
    memory.flush()
    assert answer(memory, call()) == "Open Settings."
    run("memory.forget()", path)

    assert answer(memory, call()) is None


def test_what_is_forgotten_is_gone_from_the_file_and_its_log(opened, path):
    memory = opened()
    memory.remember(call("Where is the zebracorn kept?"), "In the quuxhouse.")
    memory.flush()
    memory.forget()

    assert not any(word in file.read_bytes() for file in path.parent.iterdir() for word in (b"zebracorn", b"quuxhouse"))


@pytest.mark.parametrize("damage", ["cut off", "scribbled"])
def test_a_damaged_file_is_set_aside_with_a_warning_and_begun_anew(opened, path, damage):
    first = opened()
    for number in range(300):
        first.remember(call(f"What does part {number} cost?"), "much " * 40)
    first.close()
    whole = path.read_bytes()
    if damage == "cut off":
        path.write_bytes(whole[: len(whole) // 2 + 100])
    else:
        path.write_bytes(whole[:4_096] + random.Random(1).randbytes(len(whole) - 8_192) + whole[-4_096:])
    with pytest.warns(UserWarning, match=r"answers\.db is damaged: set aside as .*damaged-"):
        second = opened()
    second.remember(call(), "Open Settings.")
    second.flush()

    assert answer(second, call()) == "Open Settings."
    assert [file.name for file in path.parent.glob("*.damaged-*")]


def test_a_file_damaged_while_it_is_open_costs_the_file_and_not_the_answers(opened, path):
    memory = opened()
    memory.remember(call(), "Open Settings.")
    memory.flush()
    assert answer(memory, call()) == "Open Settings."
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    with path.open("r+b") as file:
        file.write(random.Random(1).randbytes(os.path.getsize(path)))
    memory.remember(call("Who may open the gate?"), "You.")
    memory.flush()
    memory.remember(call("Who may close the window?"), "All.")
    memory.flush()

    assert answer(memory, call("Who may close the window?")) == "All."
    assert memory.stats().store_errors > 0
    assert [file.name for file in path.parent.glob("*.damaged-*")]


def test_a_file_that_is_taken_away_is_begun_anew(opened, path):
    memory = opened()
    memory.remember(call(), "Open Settings.")
    memory.flush()
    for file in path.parent.iterdir():
        file.unlink()
    memory.remember(call("Who may open the gate?"), "You.")
    memory.close()

    assert answer(opened(), call("Who may open the gate?")) == "You."


def test_on_a_full_disk_answers_are_kept_in_memory_and_written_when_there_is_room(path):
    out = run(
        """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        memory.remember(call("Who may open the gate?"), "You.")
        memory.flush()
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1] + "-wal"), limit[1]))
        for number in range(100):
            memory.remember(call(f"What does part {number} cost?"), "much " * 100)
        memory.flush(30)
        print(answer(memory, call("What does part 99 cost?"))[:4], answer(memory, call("Who may open the gate?")))
        assert memory.stats().store_errors > 0
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        memory.remember(call("Who may close the window?"), "All.")
        memory.flush()
        memory.close()
        again = SimilarAnswers(sys.argv[1], embedder="trigrams")
        print(answer(again, call("What does part 99 cost?"))[:4], answer(again, call("Who may close the window?")))
        """,
        path,
    )

    assert "much You.\n" in out
    assert "much All.\n" in out


def test_an_answer_is_written_at_exit_without_being_asked(opened, path):
    run("memory.remember(call(), 'Open Settings.')", path)

    assert answer(opened(), call()) == "Open Settings."


def test_a_process_ends_at_once_and_leaves_no_thread_behind(path):
    out = run(
        """
        import threading
        memory.remember(call(), "Open Settings.")
        memory.close()
        print([thread.name for thread in threading.enumerate()])
        """,
        path,
    )

    assert out.strip() == "['MainThread']"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_goes_on_with_the_file(opened, path):
    out = run(
        """
        memory.remember(call("Who may open the gate?"), "You.")
        memory.flush()
        for number in range(200):
            memory.remember(call(f"What does part {number} cost?"), "much")
        child = os.fork()
        if child == 0:
            memory.remember(call(), "Open Settings.")
            ok = memory.flush(10) and answer(memory, call("Who may open the gate?")) == "You."
            memory.close()
            os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        """,
        path,
    )
    memory = opened()

    assert out == ""
    assert answer(memory, call()) == "Open Settings."
    assert answer(memory, call("What does part 199 cost?")) == "much"


def test_the_file_keeps_its_bound_and_every_scope_its_share(opened, path):
    memory = opened(max_entries=50, scope=lambda call: call.arguments["tenant"])
    for number in range(10):
        memory.remember(call(f"What does part {number} cost?", tenant="small"), "small")
    memory.flush()
    for number in range(300):
        memory.remember(call(f"What does part {number} cost?", tenant="large"), "large")
    memory.close()
    rows = sqlite3.connect(path)
    count = rows.execute("SELECT count(*) FROM entries").fetchone()[0]
    rows.close()
    again = opened(max_entries=50, scope=lambda call: call.arguments["tenant"])

    assert count == 50
    assert all(answer(again, call(f"What does part {n} cost?", tenant="small")) == "small" for n in range(10))
    assert answer(again, call("What does part 299 cost?", tenant="large")) == "large"
    assert answer(again, call("What does part 0 cost?", tenant="large")) is None


def test_a_bound_in_bytes_is_kept_too(opened, path):
    memory = opened(max_bytes=200_000)
    for number in range(200):
        memory.remember(call(f"What does part {number} cost?"), "much " * 400)
    memory.close()
    rows = sqlite3.connect(path)
    size = rows.execute("SELECT total(size) FROM entries").fetchone()[0]
    rows.close()

    assert 100_000 < size <= 200_000


def test_answers_beyond_their_age_leave_the_file(opened, path):
    memory = opened(max_age=60)
    old = FailedCall("bot.ask", (), {}, {"text": "Who may open the gate?"}, now=0.0)
    memory.remember(old, "You.")
    memory.remember(FailedCall("bot.ask", (), {}, {"text": "Who may close the window?"}, now=61.0), "All.")
    memory.close()
    rows = sqlite3.connect(path)
    left = rows.execute("SELECT text FROM entries").fetchall()
    rows.close()

    assert left == [("Who may close the window?",)]


@pytest.mark.parametrize("bad", ["", ":memory:"])
def test_a_path_that_names_no_file_is_refused(bad):
    with pytest.raises(ValueError, match="path must name a file"):
        SimilarAnswers(bad, embedder="trigrams")


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder of .* does not exist"):
        SimilarAnswers(tmp_path / "no" / "answers.db", embedder="trigrams")


def test_the_file_of_a_newer_version_is_left_alone(opened, path):
    opened().close()
    rows = sqlite3.connect(path)
    rows.execute("PRAGMA user_version = 99")
    rows.close()

    with pytest.raises(ValueError, match="newer version"):
        opened()


def test_a_class_named_in_the_file_is_never_imported(opened, path):
    memory = opened()
    memory.remember(call(), "Open Settings.")
    memory.close()
    rows = sqlite3.connect(path)
    evil = '{"$type":"model","value":["antigravity","Popen",{}]}'
    rows.execute("UPDATE entries SET answer = ?", (evil,))
    rows.commit()
    rows.close()

    assert answer(opened(), call()) is None
    assert "antigravity" not in sys.modules
