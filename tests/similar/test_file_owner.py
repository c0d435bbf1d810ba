"""A path that is not ours is never altered: no mode, no name, no byte; the error says what is there."""

from __future__ import annotations

import os
import socket
import sqlite3
import stat
import subprocess
import sys

import pytest

from resilient_ai._degrade_to.contract import FailedCall
from resilient_ai.similar import SimilarAnswers

root_only = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")


def opened(path):
    SimilarAnswers(path, embedder="trigrams").close()


def state(folder):
    """Everything about what is in a folder that must not change."""
    found = {}
    for each in folder.iterdir():
        seen = each.lstat()
        body = each.read_bytes() if stat.S_ISREG(seen.st_mode) else None
        target = os.readlink(each) if stat.S_ISLNK(seen.st_mode) else None
        found[each.name] = (seen.st_ino, seen.st_mode, seen.st_uid, seen.st_size, body, target)
    return found


def database(path, *, wal=False, application_id=0):
    file = sqlite3.connect(path)
    if wal:
        file.execute("PRAGMA journal_mode = WAL")
    file.execute(f"PRAGMA application_id = {application_id}")
    file.execute("CREATE TABLE customers (name TEXT)")
    file.execute("INSERT INTO customers VALUES ('Ada')")
    file.commit()
    file.close()
    path.chmod(0o644)


def make(kind, path):
    target = path.with_name("target")
    if kind == "link to a file":
        target.write_text("listen = 443\n")
        target.chmod(0o644)
        path.symlink_to(target)
    elif kind == "link to nothing":
        path.symlink_to(target)
    elif kind == "link to a database of ours":
        opened(target)
        path.symlink_to(target)
    elif kind == "text":
        path.write_text("name,street\nAda,Main St\n")
        path.chmod(0o644)
    elif kind == "one byte":
        path.write_bytes(b"x")
    elif kind == "database":
        database(path)
    elif kind == "database with a log":
        database(path, wal=True)
    elif kind == "database of another application":
        database(path, application_id=1234)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        # A path of its own length: those of sockets are short.
        here = os.getcwd()
        os.chdir(path.parent)
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path.name)
        finally:
            os.chdir(here)
    elif kind == "empty file with two names":
        target.touch(mode=0o644)
        os.link(target, path)
    elif kind == "log that is a link":
        target.write_bytes(b"")
        path.with_name(path.name + "-wal").symlink_to(target)
        path.touch()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("link to a file", "symbolic link to .*target"),
        ("link to nothing", "symbolic link to .*target"),
        ("link to a database of ours", "symbolic link to .*target"),
        ("text", r"is not a database \(24 bytes"),
        ("one byte", r"is not a database \(1 bytes"),
        ("database", "is a database of another program"),
        ("database with a log", "is a database of another program"),
        ("database of another application", "is a database of another program"),
        ("folder", "is a folder, not a file"),
        ("pipe", "is a pipe, not a file"),
        ("socket", "is a socket, not a file"),
        ("empty file with two names", "empty file with 2 names"),
        ("log that is a link", r"answers\.db-wal is a symbolic link"),
    ],
)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
def test_what_is_not_ours_is_named_and_left_as_it_is(tmp_path, kind, message):
    path = tmp_path / "answers.db"
    make(kind, path)
    before = state(tmp_path)
    with pytest.raises(ValueError, match=message):
        opened(path)

    assert state(tmp_path) == before


@root_only
def test_a_file_of_another_user_is_left_as_it_is(tmp_path):
    path = tmp_path / "answers.db"
    opened(path)
    os.chown(path, 12345, 12345)
    before = state(tmp_path)
    with pytest.raises(ValueError, match="belongs to user 12345, not to user 0"):
        opened(path)

    assert state(tmp_path) == before


def test_an_empty_file_of_ones_own_becomes_the_database(tmp_path):
    path = tmp_path / "answers.db"
    path.touch(mode=0o644)
    opened(path)
    opened(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_our_own_file_is_made_private_again(tmp_path):
    path = tmp_path / "answers.db"
    opened(path)
    path.chmod(0o664)
    opened(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_on_the_way_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    opened(tmp_path / "link" / "answers.db")

    assert (tmp_path / "real" / "answers.db").is_file()


@pytest.mark.parametrize("kind", ["text", "database", "link to a file", "folder"])
async def test_what_takes_the_files_place_while_it_is_used_is_left_as_it_is(tmp_path, kind):
    path = tmp_path / "answers.db"
    with SimilarAnswers(path, embedder="trigrams") as memory:
        memory.remember(FailedCall("f", (), {}, {"text": "Who may open the gate?"}), "You.")
        memory.flush()
        for each in list(tmp_path.iterdir()):
            each.unlink()
        make(kind, path)
        before = state(tmp_path)
        memory.remember(FailedCall("f", (), {}, {"text": "Who may close the gate?"}), "All.")
        memory.flush()
        after = state(tmp_path)
        errors = memory.stats().store_errors

        found = memory.recall(FailedCall("f", (), {}, {"text": "who may close the gate"}))
        found = await found if hasattr(found, "__await__") else found
        assert found.answer == "All."
    assert after == before == state(tmp_path)
    assert errors > 0


def test_a_database_that_was_copied_over_ours_is_not_renamed(tmp_path):
    other, path = tmp_path / "other.db", tmp_path / "answers.db"
    database(other)
    with SimilarAnswers(path, embedder="trigrams") as memory:
        memory.remember(FailedCall("f", (), {}, {"text": "Who may open the gate?"}), "You.")
        memory.flush()
        path.write_bytes(other.read_bytes())
        for word in ("close", "paint", "sell"):
            memory.remember(FailedCall("f", (), {}, {"text": f"Who may {word} the gate?"}), "All.")
            memory.flush()

    assert not list(tmp_path.glob("*damaged*"))


def test_two_processes_may_make_the_file_at_once(tmp_path):
    code = (
        "import sys; from resilient_ai.similar import SimilarAnswers;"
        " SimilarAnswers(sys.argv[1], embedder='trigrams').close(); print('ok')"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "answers.db")], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]

    assert [worker.communicate(timeout=60)[0].strip() for worker in workers] == ["ok"] * 4
