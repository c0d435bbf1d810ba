"""The guard: which look-alikes it refuses, and which rewordings it lets pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai.similar import REASONS, look_alike


@pytest.mark.parametrize(
    ("reason", "one", "other"),
    [
        ("number", "Transfer 100 dollars to savings", "Transfer 1000 dollars to savings"),
        ("number", "a loan over five years", "a loan over seven years"),
        ("number", "What is 3/4 of 80?", "What is 1/4 of 80?"),
        ("number", "send 5 to her and 10 to him", "send 10 to her and 5 to him"),
        ("number", "Does the plan include storage?", "Does the 2nd plan include storage?"),
        ("number", "5天内到货吗", "8天内到货吗"),
        ("number", "三天内到货吗", "五天内到货吗"),
        ("unit", "take 5 mg of ibuprofen", "take 5 g of ibuprofen"),
        ("number", "a loan of 5k", "a loan of 5"),
        ("unit", "take 5 mg of it", "take 5 of it"),
        ("unit", "costs $20 a month", "costs €20 a month"),
        ("date", "is it open on monday", "is it open on friday"),
        ("date", "Weather in June", "Weather in July"),
        ("date", "今天天气怎么样", "明天天气怎么样"),
        ("negation", "The device is waterproof", "The device is not waterproof"),
        ("negation", "I can log in", "I can't log in"),
        ("negation", "I didn`t get the code", "I did get the code"),
        ("negation", "Is it possible to cancel?", "Is it impossible to cancel?"),
        ("negation", "Ich kann mich anmelden", "Ich kann mich nicht anmelden"),
        ("negation", "Puedo cancelar mi pedido", "No puedo cancelar mi pedido"),
        ("negation", "Je peux annuler ma commande", "Je ne peux pas annuler ma commande"),
        ("negation", "Можно отменить заказ", "Нельзя отменить заказ"),
        ("negation", "我可以取消订单", "我不可以取消订单"),
        ("negation", "not the red one but the blue one fits", "the red one but not the blue one fits"),
        ("negation", "None of the pumps is broken", "None of the pumps isn't broken"),
        ("negation", "I don't think that it is wrong", "I think that it is wrong"),
        ("negation", "I could think of a better airline", "I couldn't think of a better airline"),
        ("opposite", "I can see the draft", "I can't see the draft"),
        ("opposite", "I know what the clause says", "I do not know what the clause says"),
        ("opposite", "Darf mein Hund mich begleiten?", "Darf ich meinen Hund begleiten?"),
        ("opposite", "Puis-je suivre mon fils ?", "Mon fils peut-il me suivre ?"),
        ("direction", "Restore the archived mail", "Archive the restored mail"),
        ("opposite", "How do I enable two factor login?", "How do I disable two factor login?"),
        ("opposite", "What is the maximum upload size?", "What is the minimum upload size?"),
        ("opposite", "Is it safe before surgery?", "Is it safe after surgery?"),
        ("opposite", "How do I log in on the phone?", "How do I log out on the phone?"),
        ("name", "the weather in Berlin please", "the weather in Munich please"),
        ("name", "What does API mean here?", "What does SDK mean here?"),
        ("name", "error in gpt-4o today", "error in gpt-5 today"),
        ("name", "open /etc/hosts for me", "open /etc/passwd for me"),
        ("name", "What is vitamin K good for?", "What is vitamin D good for?"),
        ("quantifier", "Are all refunds instant?", "Are some refunds instant?"),
        ("quantifier", "my refund was paid", "my refund was partly paid"),
        ("alternative", "do you have it in red", "do you have it in green"),
        ("alternative", "read a csv in python", "read a csv in rust"),
        ("direction", "convert pdf to word", "convert word to pdf"),
        ("direction", "translate from english to german please", "translate from german to english please"),
        ("direction", "is tea healthier than coffee", "is coffee healthier than tea"),
        ("direction", "从北京到上海多久", "从上海到北京多久"),
        ("direction", "does the dog bite the mailman", "does the mailman bite the dog"),
        ("direction", "only admins can delete posts", "admins can only delete posts"),
        ("direction", "remind me to call john", "remind john to call me"),
        ("opposite", "can i return shoes after 30 days", "can i return shoes within 30 days"),
        ("tense", "Who is the CEO of Apple?", "Who was the CEO of Apple?"),
        ("frame", "Why was I charged?", "When was I charged?"),
        ("frame", "How long is a session?", "How much is a session?"),
        ("tense", "When did the sale start?", "When will the sale start?"),
        ("script", "hello world", "привет мир"),
    ],
)  # fmt: skip
def test_a_look_alike_is_refused_whichever_came_first(reason, one, other):
    assert look_alike(one, other) is not None
    assert look_alike(other, one) is not None
    assert reason in {look_alike(one, other), look_alike(other, one)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How can I reset my password?", "how do I reset the password"),
        ("Where can I change my PIN?", "How do I change my PIN?"),
        ("It costs $1,000.00", "it costs $1000"),
        ("Does it take two days?", "does it take 2 days"),
        ("Is it five kg?", "is it 5 kilograms"),
        ("Can I use Apple Pay?", "can i use apple pay"),
        ("Top up at ATMs", "top up at an ATM"),
        ("My card isn't working", "my card doesn't work"),
        ("When will my card arrive?", "when will the card be arriving"),
        ("Why won't the scanner start?", "Why doesn't the scanner start?"),
        ("Why isn't the deposit showing up?", "The deposit is not showing up"),
        ("I can't find the warranty card", "Where can I find the warranty card?"),
        ("WHY IS MY CARD BLOCKED", "why is my card blocked"),
        ("怎么重置密码", "怎么重置密码?"),
        ("订单5天内到货吗", "订单5天内能到货吗"),
        ("Does it cost $20?", "does it cost 20 dollars"),
    ],
)
def test_a_rewording_passes(one, other):
    assert look_alike(one, other) is None
    assert look_alike(other, one) is None


def test_strict_wants_the_same_content_words():
    assert look_alike("Is the shark dangerous?", "is the whale shark dangerous") is None
    assert look_alike("Is the shark dangerous?", "is the whale shark dangerous", strict=True) == "words"
    assert look_alike("Are the sharks dangerous?", "is the shark dangerous", strict=True) is None


def test_a_text_beyond_four_thousand_characters_is_only_like_itself():
    long = "How do I reset it? " * 500

    assert look_alike(long, long) is None
    assert look_alike(long, long + "Please") == look_alike("Please", long) == "words"


@given(st.text(max_size=200))
def test_no_text_is_refused_for_itself_and_none_breaks_the_guard(text):
    assert look_alike(text, text) is None


@given(st.text(max_size=80), st.text(max_size=80))
def test_the_guard_answers_with_a_known_reason_or_none(one, other):
    assert look_alike(one, other) in {*REASONS, None}


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_two_numbers_never_pass_for_each_other(one, other):
    refused = look_alike(f"please transfer {one} to my account", f"please transfer {other} to my account")

    assert (refused is None) == (one == other)
