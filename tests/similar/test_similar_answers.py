"""What users of `SimilarAnswers` can rely on, through `@degrade_to` and with the trigrams, which need no weights."""

from __future__ import annotations

import pytest

from resilient_ai import degrade_to, watch
from resilient_ai.similar import SimilarAnswers
from tests.similar.support import ANSWER, LATER


async def test_a_paraphrase_gets_the_answer_of_the_question_that_was_answered(bot, provider):
    ask = bot()
    await ask("How can I reset my password?")
    provider.down = True

    assert await ask("how do I reset the password") == ANSWER


async def test_provenance_tells_similarity_age_and_the_error(bot, provider, clock):
    ask = bot()
    await ask("How can I reset my password?")
    provider.down = True
    clock.advance(120)
    with watch() as seen:
        await ask("how do I reset the password")

    assert seen.degraded
    assert seen.source == "SimilarAnswers"
    assert 0.88 <= seen.similarity < 1.0
    assert seen.age == pytest.approx(120, abs=1)
    assert isinstance(seen.error, OSError)


async def test_the_same_question_is_similar_to_the_full(bot, provider):
    ask = bot()
    await ask("How can I reset my password?")
    provider.down = True
    with watch() as seen:
        await ask("How can I  reset my password?\n")

    assert seen.similarity == 1.0


@pytest.mark.parametrize(
    ("answered", "asked"),
    [
        ("How do I turn on dark mode?", "How do I turn off dark mode?"),
        ("What does the 20 GB plan cost per month?", "What does the 50 GB plan cost per month?"),
        ("Is the office open on Monday?", "Is the office open on Sunday?"),
        ("Does the warranty cover water damage?", "Doesn't the warranty cover water damage?"),
        ("How do I convert a pdf to word?", "How do I convert a word to pdf?"),
        ("How do I get from Berlin to Paris by train?", "How do I get from Paris to Berlin by train?"),
        ("Why was my payment declined yesterday evening?", "When was my payment declined yesterday evening?"),
    ],
)
async def test_a_look_alike_gets_no_answer_that_is_not_its_own(bot, provider, answered, asked):
    ask = bot()
    await ask(answered)
    provider.down = True

    assert await ask(asked) == LATER


async def test_another_tenant_is_never_answered_from_this_ones_memory(bot, provider):
    ask = bot()
    await ask("How can I reset my password?", tenant="acme")
    provider.down = True

    assert await ask("How can I reset my password?", tenant="globex") == LATER
    assert await ask("how do I reset the password", tenant="acme") == ANSWER


async def test_any_other_argument_that_differs_is_another_question(bot, provider):
    ask = bot()
    await ask("How can I reset my password?", language="en")
    provider.down = True

    assert await ask("How can I reset my password?", language="de") == LATER


async def test_two_functions_share_nothing_even_in_one_memory(provider, registry):
    memory = SimilarAnswers(embedder="trigrams")

    @degrade_to(memory, LATER, registry=registry)
    async def support(question: str) -> str:
        return await provider(question)

    @degrade_to(memory, LATER, registry=registry)
    async def sales(question: str) -> str:
        return await provider(question)

    await support("How can I reset my password?")
    provider.down = True

    assert await sales("How can I reset my password?") == LATER
    memory.close()


async def test_two_objects_share_nothing_unless_the_scope_says_so(provider, registry):
    async def answers(memory):
        class Client:
            def __init__(self, tenant):
                self.tenant = tenant

            @degrade_to(memory, LATER, name="client", registry=registry)
            async def ask(self, question: str):
                return await provider(question)

        provider.down = False
        await Client("acme").ask("How can I reset my password?")
        provider.down = True
        result = [await Client(tenant).ask("how do I reset the password") for tenant in ("acme", "globex")]
        memory.close()
        registry.release("degrade_to", "client")
        return result

    assert await answers(SimilarAnswers(embedder="trigrams")) == [LATER, LATER]
    scoped = SimilarAnswers(embedder="trigrams", scope=lambda call: call.instance.tenant)
    assert await answers(scoped) == [ANSWER, LATER]


async def test_a_scope_that_is_unknown_shares_with_nobody(bot, provider):
    ask = bot(scope=lambda call: None)
    await ask("How can I reset my password?")
    provider.down = True

    assert await ask("How can I reset my password?") == LATER


async def test_a_follow_up_needs_the_same_history(provider, registry):
    memory = SimilarAnswers(embedder="trigrams")

    @degrade_to(memory, LATER, registry=registry)
    async def chat(messages: list[dict[str, str]]) -> str:
        return await provider("")

    def asked(country, then):
        history = [{"role": "user", "content": f"What is the tax rate in {country}?"}]
        return [*history, {"role": "assistant", "content": "19 percent"}, {"role": "user", "content": then}]

    await chat(asked("Germany", "And how do I pay it online?"))
    provider.down = True

    assert await chat(asked("Germany", "and how can I pay it online")) == ANSWER
    assert await chat(asked("France", "And how do I pay it online?")) == LATER
    memory.close()


async def test_an_answer_too_old_is_not_given(bot, provider, clock):
    ask = bot(max_age=3_600)
    await ask("How can I reset my password?")
    provider.down = True
    clock.advance(3_599)
    assert await ask("How can I reset my password?") == ANSWER
    clock.advance(2)

    assert await ask("How can I reset my password?") == LATER


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "incomplete"),
        ("   ", "incomplete"),
        ({"choices": [{"finish_reason": "length", "message": {"content": "Open Set"}}]}, "incomplete"),
        ({"choices": [{"finish_reason": "tool_calls", "message": {"content": None}}]}, "incomplete"),
        ({"choices": [{"finish_reason": "stop", "message": {"refusal": "I can't help with that"}}]}, "incomplete"),
        ({"stop_reason": "max_tokens", "content": [{"type": "text", "text": "Open Set"}]}, "incomplete"),
        ({"stop_reason": "end_turn", "content": [{"type": "tool_use", "name": "reset"}]}, "incomplete"),
        ({"status": "incomplete", "output": []}, "incomplete"),
        ({"candidates": [{"finish_reason": "MAX_TOKENS", "content": {"parts": []}}]}, "incomplete"),
        ("Your key is sk-proj-abcdefghijklmnop1234", "secret"),
        (object(), "type"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_an_answer_that_is_not_whole_or_not_fit_is_not_remembered(provider, registry, answer, reason):
    provider.answer = answer
    with SimilarAnswers(embedder="trigrams") as memory:
        ask = degrade_to(memory, LATER, registry=registry)(provider)
        await ask("How can I reset my password?")
        provider.down = True

        assert await ask("How can I reset my password?") == LATER
        assert memory.stats().not_remembered == {reason: 1}


async def test_whole_answers_of_the_sdks_are_remembered(provider, registry):
    provider.answer = {"choices": [{"finish_reason": "stop", "message": {"content": "Yes", "tool_calls": None}}]}
    with SimilarAnswers(embedder="trigrams") as memory:
        ask = degrade_to(memory, LATER, registry=registry)(provider)
        await ask("Can I reset my password?")
        provider.down = True

        assert await ask("can I reset the password") == provider.answer


async def test_a_degraded_answer_is_not_remembered(bot, provider):
    ask = bot()
    provider.down = True
    await ask("How can I reset my password?")

    assert bot.made[0].stats().remembered == 0


async def test_only_accepted_answers_are_remembered(bot, provider):
    ask = bot(accept=lambda answer: "sorry" not in answer)
    provider.answer = "I am sorry, I do not know."
    await ask("How can I reset my password?")
    provider.down = True

    assert await ask("How can I reset my password?") == LATER


async def test_what_the_caller_does_to_an_answer_does_not_change_the_memory(bot, provider):
    ask = bot()
    provider.answer = {"steps": ["open", "reset"]}
    answer = await ask("How can I reset my password?")
    answer["steps"].clear()
    provider.down = True
    recalled = await ask("How can I reset my password?")
    recalled["steps"].clear()

    assert await ask("How can I reset my password?") == {"steps": ["open", "reset"]}


async def test_the_newest_of_equally_similar_answers_is_given(bot, provider, clock):
    ask = bot()
    provider.answer = "old"
    await ask("How can I reset my password?!")
    clock.advance(60)
    provider.answer = "new"
    await ask("How can I reset my password??")
    provider.down = True

    assert await ask("How can I reset my password") == "new"


async def test_forgetting_a_scope_leaves_the_others(bot, provider):
    ask = bot(scope=lambda call: call.arguments["tenant"])
    await ask("How can I reset my password?", tenant="acme")
    await ask("How can I reset my password?", tenant="globex")
    provider.down = True

    assert bot.made[0].forget("acme") == 1
    assert await ask("How can I reset my password?", tenant="acme") == LATER
    assert await ask("How can I reset my password?", tenant="globex") == ANSWER
    assert bot.made[0].forget() == 1
    assert await ask("How can I reset my password?", tenant="globex") == LATER


async def test_without_stored_text_the_guard_still_works_and_no_word_is_kept(bot, provider):
    ask = bot(store_text=False)
    await ask("How do I turn on dark mode?")
    await ask("Where is the 20 GB plan explained?")
    provider.down = True

    assert await ask("how can I turn on the dark mode") == ANSWER
    assert await ask("How do I turn off dark mode?") == LATER
    assert await ask("Where is the 50 GB plan explained?") == LATER
    assert bot.made[0].stats().refused == {"opposite": 1, "number": 1}


async def test_guards_can_be_strict_absent_or_ones_own(bot, provider):
    asked, answered = "How can I reset my old password?", "How can I reset my password?"

    async def reply(**settings):
        provider.down = False
        ask = bot(threshold=0.81, **settings)
        await ask(answered)
        provider.down = True
        return await ask(asked)

    assert await reply() == ANSWER
    assert await reply(guard="strict") == LATER
    assert await reply(guard=lambda asked, remembered: "no" if "old" in asked else None) == LATER
    assert await reply(guard=None) == ANSWER


async def test_of_a_single_word_only_the_same_word_is_the_same_question(bot, provider):
    ask = bot(guard=None)
    await ask("customer-number-1234567")
    provider.down = True

    assert await ask("customer-number-1234568") == LATER
    assert await ask("customer-number-1234567") == ANSWER


async def test_a_stream_is_remembered_whole_and_recalled_as_one_item(registry):
    down = False

    @degrade_to(SimilarAnswers(embedder="trigrams"), LATER, registry=registry)
    async def tell(question: str):
        if down:
            raise OSError
        for piece in ("Open ", "Settings."):
            yield piece

    assert [piece async for piece in tell("How can I reset my password?")] == ["Open ", "Settings."]
    down = True

    assert [piece async for piece in tell("how do I reset the password")] == ["Open Settings."]


async def test_which_argument_is_the_question_can_be_said(registry):
    down = False

    def bot(**settings):
        @degrade_to(SimilarAnswers(embedder="trigrams", **settings), LATER, name=str(settings), registry=registry)
        async def ask(country: str, theme: str, detail: dict):
            if down:
                raise OSError
            return ANSWER

        return ask

    named = bot(text="theme")
    nested = bot(text=lambda call: call.arguments["detail"]["q"])
    await named("DE", "How can I reset my password?", {})
    await nested("DE", "account", {"q": "How can I reset my password?", "user": 7})
    down = True

    assert await named("DE", "how do I reset the password", {}) == ANSWER
    assert await named("FR", "how do I reset the password", {}) == LATER
    assert await nested("DE", "account", {"q": "how do I reset the password", "user": 7}) == ANSWER
    assert await nested("DE", "account", {"q": "how do I reset the password", "user": 8}) == LATER
