"""A look into a file takes no lock away from another memory of the process, and nothing stays open afterwards."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from resilient_ai._degrade_to.contract import FailedCall
from resilient_ai.similar import SimilarAnswers
from resilient_ai.similar._file_owner import claim, is_damaged

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
LEAVE = "import sqlite3, sys; file = sqlite3.connect(sys.argv[1]); file.execute('SELECT * FROM entries'); file.close()"


def remembering(path):
    memory = SimilarAnswers(path, embedder="trigrams")
    memory.remember(FailedCall("ask", (), {}, {"text": "How can I reset my password?"}, now=0.0), "Click on it")
    assert memory.flush(30)
    return memory


def opened(path):
    SimilarAnswers(path, embedder="trigrams").close()


def used(path):
    remembering(path).close()


def looked_at_for_damage(path):
    held, _empty = claim(path)
    assert is_damaged(path, held)
    held.release()


def open_descriptors(path):
    found = []
    for each in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{each}"))
        except FileNotFoundError:  # the one that lists them
            continue
    return found.count(str(path))


@pytest.mark.parametrize("look", [opened, used, looked_at_for_damage])
def test_another_process_that_leaves_takes_no_file_away_that_a_memory_here_has_open(tmp_path, look):
    """The last connection to a database removes its log: who has no lock any more is not counted."""
    path = tmp_path / "answers.db"
    with remembering(path):
        look(path)
        subprocess.run([sys.executable, "-c", LEAVE, str(path)], check=True)

        assert Path(f"{path}-wal").exists()


def test_nothing_stays_open_when_all_memories_of_a_file_are_closed(tmp_path):
    path = tmp_path / "answers.db"
    first, second = remembering(path), remembering(path)
    assert open_descriptors(path) > 2
    first.close()
    second.close()

    assert open_descriptors(path) == 0


def test_a_memory_that_nobody_has_any_more_keeps_no_file_open(tmp_path):
    path, before = tmp_path / "answers.db", set(threading.enumerate())
    remembering(path)
    gc.collect()
    for each in {*threading.enumerate()} - before:  # one of them closes the file
        each.join(30)
    remembering(tmp_path / "others.db").close()

    assert open_descriptors(path) == 0
