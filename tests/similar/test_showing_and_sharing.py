"""What the memory of similar answers shows, and how callers, loops and threads share it."""

from __future__ import annotations

import dataclasses
import threading

import anyio
import pytest

from resilient_ai import NO_ANSWER, degrade_to
from resilient_ai._degrade_to.contract import FailedCall
from resilient_ai.similar import SimilarAnswers
from tests.similar.support import ANSWER, LATER


async def test_a_thousand_callers_at_once_all_get_their_answer(bot, provider):
    ask = bot()
    await ask("How can I reset my password?")
    provider.down = True
    answers = []

    async def one(number):
        answers.append(await ask("how do I reset the password" if number % 2 else "How can I reset my password?"))

    async with anyio.create_task_group() as group:
        for number in range(1_000):
            group.start_soon(one, number)

    assert answers == [ANSWER] * 1_000


def test_one_memory_serves_several_loops_one_after_another(provider, registry):
    memory = SimilarAnswers(embedder="trigrams")
    ask = degrade_to(memory, LATER, registry=registry)(provider)
    anyio.run(ask, "How can I reset my password?", backend="asyncio")
    provider.down = True

    assert anyio.run(ask, "how do I reset the password", backend="trio") == ANSWER
    assert anyio.run(ask, "how do I reset the password", backend="asyncio") == ANSWER
    memory.close()


async def test_the_registry_shows_what_the_memory_did(bot, provider, registry):
    ask = bot()
    await ask("How do I turn on dark mode in the settings of the mobile application?")
    provider.down = True
    await ask("How can I turn on dark mode in the settings of the mobile application?")
    await ask("How do I turn off dark mode in the settings of the mobile application?")
    own = registry.degradations["bot 1"].stats().rungs["SimilarAnswers"]

    assert (own["entries"], own["remembered"], own["recalled"], own["misses"]) == (1, 1, 1, 1)
    assert own["refused"] == {"opposite": 1}


def test_statistics_and_repr_show_no_question_and_no_answer(bot, provider):
    anyio.run(bot(), "How can I reset my password?")
    memory = bot.made[0]
    memory.flush()

    assert "password" not in repr(memory) + str(dataclasses.asdict(memory.stats()))
    assert repr(memory) == "<SimilarAnswers: 1 answer in memory, trigrams-448-2 from 0.88>"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0.5}, "threshold must be at least 0.8 .* allow_unsafe=True"),
        ({"threshold": 1.5}, "threshold must be a number above 0 up to 1"),
        ({"threshold": float("nan"), "allow_unsafe": True}, "threshold"),
        ({"guard": "none"}, "guard must be 'default', 'strict', a function of two texts or None"),
        ({"guard": lambda a, b: None, "store_text": False}, "store_text=False does not keep"),
        ({"embedder": "bert"}, "embedder must be 'auto', 'trigrams', 'minilm'"),
        ({"embedder": 7}, "embedder must be"),
        ({"max_age": 0}, "max_age must be a number above 0"),
        ({"max_entries": 0}, "max_entries must be an integer of at least 1"),
        ({"text": 3}, "text must be an argument's name"),
        ({"store": object()}, r"store object needs a method put\(\)"),
    ],
)
def test_bad_settings_are_refused_with_the_way_out(settings, message):
    with pytest.raises(ValueError, match=message):
        SimilarAnswers(**settings)


def test_a_low_threshold_is_possible_for_who_says_so():
    assert "from 0.5" in repr(SimilarAnswers(embedder="trigrams", threshold=0.5, allow_unsafe=True))


async def test_in_half_an_outage_a_steady_flow_of_answers_keeps_nobody_waiting(bot):
    ask = bot()
    memory = bot.made[0]
    flowing = True

    async def flow():
        number = 0
        while flowing:
            number += 1
            memory.remember(FailedCall("other", (), {}, {"text": f"What does part {number} cost?"}), "much")
            await anyio.lowlevel.checkpoint()

    first = FailedCall("other", (), {}, {"text": "How can I reset my password?"})
    memory.remember(first, ANSWER)
    memory.flush()
    found = []

    async def recall():
        recalled = memory.recall(first)
        found.append(await recalled if hasattr(recalled, "__await__") else recalled)

    async with anyio.create_task_group() as group:
        group.start_soon(flow)
        with anyio.fail_after(5):
            async with anyio.create_task_group() as asking:
                for _ in range(300):
                    asking.start_soon(recall)
        flowing = False

    assert [each.answer for each in found] == [ANSWER] * 300
    del ask


def test_threads_with_loops_of_their_own_share_one_memory(registry):
    memory = SimilarAnswers(embedder="trigrams", max_entries=500)
    wrong = []

    def work(name):
        async def turns():
            for number in range(60):
                asked = FailedCall("ask", (), {}, {"text": f"What does part {number} cost?", "tenant": name})
                memory.remember(asked, f"{name} {number}")
                recalled = memory.recall(asked)
                recalled = await recalled if hasattr(recalled, "__await__") else recalled
                if recalled is not NO_ANSWER and recalled.answer != f"{name} {number}":
                    wrong.append(recalled)

        anyio.run(turns, backend="trio" if name % 2 else "asyncio")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    memory.flush()

    assert wrong == []
    assert memory.stats().remembered == 360
    assert memory.stats().entries == 360
    memory.close()


async def test_a_recall_that_is_cancelled_leaves_the_next_one_unharmed(bot, provider):
    ask = bot(embedder="minilm")
    await ask("How can I reset my password?")
    bot.made[0].flush(30)
    provider.down = True
    with anyio.move_on_after(0):
        await ask("how do I reset the password")

    assert await ask("how do I reset the password") == ANSWER
