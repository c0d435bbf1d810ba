"""Embedders: the two that come with the package, and ones own, which may fail without anybody noticing."""

from __future__ import annotations

import threading

import anyio
import anyio.lowlevel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import NO_ANSWER, degrade_to
from resilient_ai._degrade_to.contract import FailedCall
from resilient_ai.similar import Embedder, MiniLMEmbedder, SimilarAnswers, TrigramEmbedder
from tests.helpers import trio_in_ci

LATER = "later"
PARAPHRASE = ("How do I get my money back?", "how can I get the money back")


def call(text):
    return FailedCall("bot.ask", (), {}, {"text": text})


async def recalled(memory, text):
    found = memory.recall(call(text))
    return await found if hasattr(found, "__await__") else found


async def told(memory, text, answer="yes"):
    memory.remember(call(text), answer)
    for _ in range(10):  # for an embedder that is asked in a task beside
        await anyio.lowlevel.checkpoint()
    assert memory.flush(120)  # on a busy machine


@given(st.text(max_size=60))
def test_trigram_vectors_have_length_one_wherever_there_is_a_letter(text):
    embedder = TrigramEmbedder()
    length = float(np.linalg.norm(embedder.embed([text])[0]))

    assert length == pytest.approx(1.0, abs=1e-5) or (length == 0.0 and not embedder.covers(text)) or len(text) < 30


def test_trigrams_read_every_script_and_ignore_case_and_form():
    embedder = TrigramEmbedder()
    pairs = [("Où est mon colis?", "OÙ EST MON COLIS"), ("今天天气怎么样", "今天天气怎么样!"), ("ﬁle", "file")]
    for one, other in pairs:
        vectors = embedder.embed([one, other])
        assert float(vectors[0] @ vectors[1]) == pytest.approx(1.0, abs=1e-5)
    ru = embedder.embed(["как вернуть деньги", "где мой заказ"])
    assert float(ru[0] @ ru[1]) < 0.5


def test_the_default_is_minilm_where_it_is_installed():
    assert MiniLMEmbedder.installed()
    assert "all-minilm-l6-v2-int8-1 from 0.88" in repr(SimilarAnswers())


async def test_minilm_knows_what_trigrams_do_not():
    with SimilarAnswers(embedder="minilm") as better, SimilarAnswers(embedder="trigrams") as plain:
        question, reworded = "My card was stolen, what should I do?", "Someone stole my card. What do I do now?"
        for memory in (better, plain):
            await told(memory, question)

        assert (await recalled(better, reworded)).similarity >= 0.88
        assert await recalled(plain, reworded) is NO_ANSWER


async def test_a_script_that_minilm_cannot_read_is_left_to_the_trigrams():
    embedder = MiniLMEmbedder()
    assert not embedder.covers("装逼是什么意思 无语")
    assert embedder.covers("What does it mean?")
    assert not embedder.covers("word " * 400)
    with SimilarAnswers(embedder="minilm") as memory:
        await told(memory, "无语是什么意思")

        assert await recalled(memory, "装逼是什么意思") is NO_ANSWER
        assert (await recalled(memory, "无语是什么意思？")).similarity > 0.95


async def test_minilm_runs_beside_the_loop():
    with SimilarAnswers(embedder="minilm") as memory:
        await told(memory, PARAPHRASE[0])
        memory.flush()
        answers = []

        async def ask(number):
            answers.append(await recalled(memory, f"{PARAPHRASE[1]}{'?' * (number % 3)}"))

        async with anyio.create_task_group() as group:
            for number in range(300):
                group.start_soon(ask, number)

        assert [found.answer for found in answers] == ["yes"] * 300


@trio_in_ci
async def test_in_a_storm_of_different_questions_the_trigrams_answer_those_for_whom_minilm_has_no_time():
    with SimilarAnswers(embedder="minilm", max_entries=100) as memory:
        for number in range(40):
            memory.remember(call(f"How do I repair the machine of line {number}?"), str(number))
        memory.flush(120)
        answers: dict[int, str] = {}

        async def ask(number):
            found = await recalled(memory, f"how do I repair the machine on line {number}")
            answers[number] = found.answer

        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(ask, number)

        assert answers == {number: str(number) for number in range(40)}
        assert anyio.current_time() - began < 5
        assert memory.stats().embedder_errors > 20


class Counting:
    """An embedder of ones own: letters, counted."""

    id = "letters-1"
    default_threshold = 0.9

    def __init__(self):
        self.threads = set()
        self.broken = False

    def embed(self, texts):
        self.threads.add(threading.current_thread())
        if self.broken:
            raise RuntimeError("no weights")
        return [[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]


async def test_an_embedder_of_ones_own_runs_in_threads_and_has_its_own_threshold():
    embedder: Embedder = Counting()
    with SimilarAnswers(embedder=embedder, guard=None) as memory:
        await told(memory, "listen to the silent night")
        found = await recalled(memory, "silent to the listen night")

        assert found.answer == "yes"
        assert threading.main_thread() not in embedder.threads
        assert "letters-1 from 0.9" in repr(memory)


async def test_when_it_breaks_the_trigrams_answer():
    embedder = Counting()
    with SimilarAnswers(embedder=embedder) as memory:
        await told(memory, "How can I reset my password?")
        memory.flush()
        embedder.broken = True

        assert (await recalled(memory, "how do I reset the password")).answer == "yes"
        assert memory.stats().embedder_errors == 1


async def test_an_answer_remembered_while_it_was_broken_is_found_by_trigrams():
    embedder = Counting()
    embedder.broken = True
    with SimilarAnswers(embedder=embedder) as memory:
        await told(memory, "How can I reset my password?")
        memory.flush()
        embedder.broken = False

        assert (await recalled(memory, "how do I reset the password")).answer == "yes"


@pytest.mark.parametrize("wrong", [[[1.0]] * 3, [1.0], [["x"]], [[float("nan")] * 3], None])
async def test_vectors_of_no_sense_are_no_vectors(wrong):
    async def embed(texts):
        return wrong

    with SimilarAnswers(embedder=embed) as memory:
        await told(memory, "How can I reset my password?")

        assert (await recalled(memory, "how do I reset the password")).answer == "yes"


async def test_an_embedder_that_calls_the_provider_helps_while_it_can_and_is_not_waited_for_when_it_cannot():
    asked = []
    hang = anyio.Event()
    down = False

    async def embed(texts):
        asked.extend(texts)
        if down:
            await hang.wait()
        return [[1.0, 0.0] if "money" in text or "refund" in text else [0.0, 1.0] for text in texts]

    with SimilarAnswers(embedder=embed, guard=None) as memory:
        await told(memory, "How does a refund work?")
        assert (await recalled(memory, "Can I have my money again?")).answer == "yes"
        down = True
        asked.clear()
        with anyio.fail_after(2):
            assert (await recalled(memory, "how does the refund work")).answer == "yes"
            for _ in range(20):
                await recalled(memory, "Where is my money gone?")

        assert len(asked) == 1
        assert memory.stats().embedder_errors == 1


async def test_through_the_decorator_an_async_embedder_is_awaited_beside_the_call(registry):
    async def embed(texts):
        await anyio.lowlevel.checkpoint()
        return [[1.0, 0.0] if "money" in text or "refund" in text else [0.0, 1.0] for text in texts]

    down = False
    memory = SimilarAnswers(embedder=embed, guard=None)

    @degrade_to(memory, LATER, registry=registry)
    async def ask(question: str) -> str:
        if down:
            raise OSError
        return "answer"

    await ask("How does a refund work?")
    for _ in range(10):
        await anyio.sleep(0.005)
    down = True

    assert await ask("Can I have my money again?") == "answer"
    memory.close()


@pytest.mark.parametrize(
    ("embedder", "message"),
    [
        (Counting, "must be an object, got the class Counting"),
        (type("Nameless", (), {"embed": lambda self, texts: texts})(), "needs an attribute 'id'"),
        (type("Loose", (Counting,), {"default_threshold": 0.4})(), "threshold must be at least 0.8"),
    ],
)
def test_an_embedder_that_cannot_work_is_refused(embedder, message):
    with pytest.raises(ValueError, match=message):
        SimilarAnswers(embedder=embedder)
