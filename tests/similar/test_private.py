"""Nothing of a prompt stays behind: not in caches, not after `forget`, not with `store_text=False`; all is bounded."""

from __future__ import annotations

import gc
import random
import string
import threading

import anyio
import numpy as np
import pytest

from resilient_ai import NO_ANSWER
from resilient_ai._degrade_to.contract import FailedCall
from resilient_ai.similar import SimilarAnswers
from resilient_ai.similar._private import ByteBoundedCache, fingerprint
from resilient_ai.similar._question import question_of
from tests.helpers import trio_in_ci

# Made here, so that no source that is loaded has it.
WORD = "".join(random.Random(5).choices(string.ascii_lowercase, k=14))


def call(text, **more):
    return FailedCall("bot.ask", (), {}, {"text": text, **more})


async def recalled(memory, asked):
    found = memory.recall(asked)
    return await found if hasattr(found, "__await__") else found


def holding(word):
    """Objects of this process that hold a word, but for this test's own frames and code."""
    gc.collect()
    found = []
    for thing in gc.get_objects():
        if isinstance(thing, dict | list | tuple | set):
            values = [*thing, *thing.values()] if isinstance(thing, dict) else thing
            try:
                found += [thing for each in values if type(each) is str and word in each.casefold()]
            except RuntimeError:
                continue
        elif hasattr(type(thing), "__slots__") and not isinstance(thing, type):
            names = [name for base in type(thing).__mro__ for name in getattr(base, "__slots__", ())]
            values = [getattr(thing, name, None) for name in names if isinstance(name, str)]
            found += [thing for each in values if type(each) is str and word in each.casefold()]
    return [thing for thing in found if not _is_ours(thing)]


def _is_ours(thing):
    return isinstance(thing, dict) and "holding" in thing


def embed(texts):
    return [[1.0, float(len(text) % 7), 2.0] for text in texts]


async def embed_async(texts):
    return embed(texts)


async def _talk(memory):
    memory.remember(call(f"How can I reset my {WORD} today?"), "Open Settings.")
    for _ in range(10):
        await anyio.lowlevel.checkpoint()
    memory.flush(30)
    await recalled(memory, call(f"how can i reset the {WORD} today"))
    await recalled(memory, call(f"Which {WORD} is the best?"))


EMBEDDERS = pytest.mark.parametrize(
    "embedder", ["trigrams", "minilm", embed, embed_async], ids=["trigrams", "minilm", "own", "async"]
)


@EMBEDDERS
def test_no_word_of_a_prompt_is_left_in_the_process_once_it_is_forgotten(embedder):
    with SimilarAnswers(embedder=embedder, threshold=0.9) as memory:
        anyio.run(_talk, memory)
        assert memory.stats().remembered == 1
        assert holding(WORD)  # the question itself
        memory.forget()

        assert holding(WORD) == []


@EMBEDDERS
def test_without_stored_text_no_word_of_a_prompt_stays_in_the_process(embedder):
    with SimilarAnswers(embedder=embedder, threshold=0.9, store_text=False) as memory:
        anyio.run(_talk, memory)

        assert memory.stats().recalled == 1
        assert holding(WORD) == []


async def test_without_stored_text_nobody_can_try_questions_against_the_file(tmp_path):
    """The digests have a key that comes from the call, and is not in the file."""
    import hashlib
    import unicodedata

    path = tmp_path / "answers.db"
    question = "My pin is a zebra that somebody may guess"
    with SimilarAnswers(path, embedder="trigrams", store_text=False) as memory:
        memory.remember(call(question), "Open Settings.")
        memory.flush()
        content = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    known = question_of(call(question), None, None)
    normal = " ".join(unicodedata.normalize("NFC", question).split()).encode()
    for word in (normal, b"pin", b"guess", b"somebody", b"zebra"):
        assert word not in content
        for key in (b"", known.partition.encode(), known.owner.encode()):
            for size in (6, 8, 16, 32):
                digest = hashlib.blake2b(word, key=key, digest_size=size)
                assert digest.digest() not in content
                assert digest.hexdigest().encode() not in content
    assert known.secret not in content
    assert known.secret.hex().encode() not in content


def test_calls_that_share_nothing_share_no_key():
    one, other = (question_of(call("Who may open the gate?", tenant=name), None, None) for name in "ab")

    assert one.key != other.key
    assert one.secret != other.secret


async def test_an_answer_that_is_being_written_while_all_is_forgotten_does_not_come_back():
    gate, asked = threading.Event(), threading.Event()

    def slow(texts):
        asked.set()
        gate.wait()
        return embed(texts)

    with SimilarAnswers(embedder=slow, threshold=0.9) as memory:
        memory.remember(call("Who may open the gate?"), "You.")
        assert asked.wait(5)
        memory.forget(timeout=0)
        gate.set()
        memory.flush()
        assert len(memory._store) == 0
        memory.remember(call("Who may open the gate?"), "All.")
        memory.flush()

        assert (await recalled(memory, call("Who may open the gate?"))).answer == "All."


async def test_forgetting_one_scope_lets_the_answers_of_others_be_written():
    gate, asked = threading.Event(), threading.Event()

    def slow(texts):
        asked.set()
        gate.wait()
        return embed(texts)

    with SimilarAnswers(embedder=slow, threshold=0.9, scope=lambda each: each.arguments["tenant"]) as memory:
        for tenant in ("a", "b"):
            memory.remember(call("Who may open the gate?", tenant=tenant), tenant)
        assert asked.wait(5)
        memory.forget("a", timeout=0)
        gate.set()
        memory.flush()

        assert await recalled(memory, call("Who may open the gate?", tenant="a")) is NO_ANSWER
        assert (await recalled(memory, call("Who may open the gate?", tenant="b"))).answer == "b"


@trio_in_ci
async def test_caches_are_bounded_by_bytes():
    import tracemalloc

    rng = random.Random(1)
    wide = np.ones(12_000, dtype=np.float32)
    with SimilarAnswers(embedder=lambda texts: [wide for _ in texts], max_entries=20, max_bytes=1 << 20) as memory:
        await recalled(memory, call("warm up with this"))
        tracemalloc.start(1)
        for _ in range(200):
            word = "".join(rng.choices(string.ascii_lowercase, k=1_000))
            await recalled(memory, call(f"explain {word}"))
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()

    assert kept < 6_000_000  # 10 MB of vectors have passed


def test_a_cache_drops_what_was_used_least_and_what_began_before_it_was_cleared():
    cache: ByteBoundedCache[str] = ByteBoundedCache(1_000)
    keys = [fingerprint(str(number)) for number in range(4)]
    for key in keys[:3]:
        cache.put(key, "value", 100, cache.generation)
    assert cache.get(keys[0]) == "value"
    cache.put(keys[3], "value", 100, cache.generation)

    assert [cache.get(key) is not None for key in keys] == [True, False, True, True]
    assert cache.nbytes <= 1_000
    before = cache.generation
    cache.clear()
    cache.put(keys[0], "value", 100, before)
    assert cache.get(keys[0]) is None
    cache.put(keys[0], "value", 2_000, cache.generation)
    assert len(cache) == 0


def test_fingerprints_tell_texts_apart_and_show_nothing():
    assert fingerprint("ab", "c") != fingerprint("a", "bc") != fingerprint("abc")
    assert fingerprint("\ud83d") == fingerprint("\ud83d")
    assert b"abc" not in fingerprint("abc")
