"""One row that cannot be read costs one answer, and none of the others in its partition."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest

from resilient_ai import NO_ANSWER
from resilient_ai._degrade_to.contract import FailedCall
from resilient_ai.similar import Entry, MemoryStore, SimilarAnswers

WORDS = ("one", "two", "three", "four", "five")


def call(word):
    return FailedCall("f", (), {}, {"text": f"what is the price of ticket number {word} to the coast"}, now=1.0)


def similar(word):
    return FailedCall("f", (), {}, {"text": f"what is the price of the ticket number {word} to the coast?"}, now=1.0)


async def recalled(memory, asked):
    found = memory.recall(asked)
    found = await found if hasattr(found, "__await__") else found
    return None if found is NO_ANSWER else found.answer


def packed(name, numbers):
    return json.dumps({name: len(numbers)}).encode() + b"\n" + np.array(numbers, dtype="<f4").tobytes()


BAD = {
    "cut off": {"vectors": b"{\n"},
    "no head": {"vectors": b"\x00\xff"},
    "a list for a head": {"vectors": b"[1]\n"},
    "more numbers than there are": {"vectors": b'{"trigrams-448-2": 448}\n'},
    "a length below zero": {"vectors": b'{"trigrams-448-2": -1}\n' + b"\x00" * 40},
    "not a number": {"vectors": packed("trigrams-448-2", [float("nan")] * 448)},
    "a vector near to everything": {"vectors": packed("trigrams-448-2", [100.0] * 448)},
    "another length": {"vectors": packed("trigrams-448-2", [1.0, 0.0])},
    "an answer that is no JSON": {"answer": "{"},
    "an answer of bytes": {"answer": b"\xff\xfe"},
    "a text that is no text": {"text": b"\xff\xfe\x00"},
    "no text and no features": {"text": None},
    "signs that are none": {"signs": b"\xff"},
    "signs of another length": {"signs": b'{"trigrams-448-2": 64}\n' + b"\xff" * 56},
    "features that are none": {"text": None, "features": '{"numbers": 5}'},
    "an owner of bytes": {"owner": b"\xff"},
}


@pytest.mark.parametrize("most", [10_000, 50_000], ids=["in memory too", "in the file alone"])
@pytest.mark.parametrize("store_text", [True, False])
@pytest.mark.parametrize("bad", BAD, ids=BAD)
async def test_a_bad_row_in_the_file_hides_no_other(tmp_path, bad, store_text, most):
    path = tmp_path / "answers.db"
    settings = {"embedder": "trigrams", "store_text": store_text, "max_entries": most}
    with SimilarAnswers(path, **settings) as memory:
        for word in WORDS:
            memory.remember(call(word), word)
    rows = sqlite3.connect(path)
    for column, value in BAD[bad].items():
        rows.execute(f"UPDATE entries SET {column} = ? WHERE id = 1", (value,))
    rows.commit()
    rows.close()
    with SimilarAnswers(path, **settings) as memory:
        found = [await recalled(memory, similar(word)) for word in WORDS[1:]]

        assert found == list(WORDS[1:])


async def test_a_first_vector_of_another_length_does_not_hide_those_that_come_after_it():
    store = MemoryStore()
    right = np.array([0.6, 0.8], dtype=np.float32)
    store.put([Entry("p", "o", "odd", {"e": np.ones(1, dtype=np.float32)}, '"odd"', 1.0)])
    store.put([Entry("p", "o", "right", {"e": right}, '"right"', 1.0)])

    assert [entry.key for _, entry in store.nearest("p", "e", right, 0.9, 9)] == ["right"]


async def test_an_answer_that_no_file_can_take_keeps_no_other_out_of_it(tmp_path):
    path = tmp_path / "answers.db"
    with SimilarAnswers(path, embedder="trigrams") as memory:
        memory.remember(call("one"), "half of a sign: \ud83d")
        memory.flush()
        assert await recalled(memory, call("one")) == "half of a sign: \ud83d"
        memory.remember(call("two"), "two")
        memory.flush()
    with SimilarAnswers(path, embedder="trigrams") as memory:
        assert await recalled(memory, call("two")) == "two"
