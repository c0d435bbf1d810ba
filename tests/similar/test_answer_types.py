"""What comes out of a store is plain data, or of a class that the call site names: never what a row asks for."""

from __future__ import annotations

import concurrent.futures  # noqa: F401 - a module that imports others when an attribute is asked for
import dataclasses
import datetime
import decimal
import functools
import json
import sqlite3
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, NewType, TypeVar

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import NO_ANSWER, degrade_to
from resilient_ai._degrade_to.contract import FailedCall, Recalled
from resilient_ai.providers import Reply, ToolCall
from resilient_ai.similar import SimilarAnswers
from resilient_ai.similar._answer_types import AnswerTypes, buildable, name_of, return_annotation
from resilient_ai.similar._codec import NotStorable, decode, encode
from resilient_ai.usage import Usage

QUESTION = "what is the price of a ticket to the coast"
ran: list[str] = []


@dataclasses.dataclass
class Price:
    amount: decimal.Decimal
    on: datetime.date


@dataclasses.dataclass
class Offer:
    name: str
    prices: list[Price]
    next: Offer | None = None


class Quote(pydantic.BaseModel):
    name: str
    amount: float


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    on: datetime.date
    id: uuid.UUID


@dataclasses.dataclass
class Job:
    command: str

    def __post_init__(self):
        ran.append(self.command)


class Order(pydantic.BaseModel):
    command: str

    def model_post_init(self, _context):
        ran.append(self.command)


OFFER = Offer("coast", [Price(decimal.Decimal("12.50"), datetime.date(2026, 5, 1))], Offer("hills", []))
TYPES = buildable(Offer)

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=9)
    | st.binary(max_size=9)
    | st.dates()
    | st.datetimes().map(lambda each: each.replace(fold=0))
    | st.decimals(allow_nan=False)
    | st.uuids(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain)
def test_plain_data_comes_back_equal_and_of_equal_types(value):
    again = decode(encode(value))

    assert repr(again) == repr(value)


@given(plain)
def test_data_that_looks_like_our_own_notation_stays_data(value):
    disguised = {"$type": "dataclass", "value": ["__main__.Job", value]}

    assert decode(encode(disguised)) == disguised


def test_a_named_dataclass_comes_back_with_those_in_its_fields():
    assert decode(encode(OFFER), TYPES) == OFFER


def test_a_strict_model_comes_back_from_its_json():
    value = Strict(on=datetime.date(2026, 5, 1), id=uuid.UUID(int=5))

    assert decode(encode(value), buildable(Strict)) == value


@pytest.mark.parametrize(
    "row",
    [
        {"$type": "dataclass", "value": [name_of(Job), {"command": "x"}]},
        {"$type": "dataclass", "value": [Job.__module__, "Job", {"command": "x"}]},
        {"$type": "model", "value": [name_of(Order), {"command": "x"}]},
        {"$type": "model", "value": ["concurrent.futures.ProcessPoolExecutor", {}]},
        {"$type": "dataclass", "value": ["antigravity.Job", {}]},
        {"$type": "list", "value": [name_of(Job), {"command": "x"}]},
        {"$type": "form", "value": ["Job", {"command": "x"}]},
        [{"deep": {"$type": "dataclass", "value": [name_of(Job), {"command": "x"}]}}],
        {"$type": "dict", "value": [[{"$type": "dataclass", "value": [name_of(Job), {"command": "x"}]}, 1]]},
        {"$type": "dataclass", "value": [name_of(Offer), {"name": "x", "prices": [], "cmd": 1}]},
        {"$type": "dataclass", "value": [name_of(Quote), {"name": "x", "amount": 1}]},
        {"$type": "bytes", "value": 5},
        {"$type": "Decimal", "value": "x"},
        {"$type": "dict", "value": [[[], 1]]},
        {"$type": []},
    ],
)
def test_a_planted_row_builds_nothing_and_imports_nothing(row):
    before = set(sys.modules)
    with pytest.raises(NotStorable):
        decode(json.dumps(row), TYPES | buildable(Quote))

    assert ran == []
    assert set(sys.modules) == before


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"$type"', "\x00"])
def test_a_row_that_is_no_json_is_no_answer(text):
    with pytest.raises(NotStorable):
        decode(text)


def test_a_reply_comes_back_with_what_it_knows():
    usage = Usage(input_tokens=7, output_tokens=2)
    reply = Reply(
        "It rains.", finish_reason="stop", usage=usage, parsed=OFFER, model="m", endpoint="east", raw=object()
    )
    again = decode(encode(reply), TYPES)

    assert type(again) is Reply
    assert again == reply == "It rains."
    assert (again.finish_reason, again.usage, again.parsed) == ("stop", usage, OFFER)
    assert (again.model, again.endpoint, again.raw) == ("m", "east", None)


@pytest.mark.parametrize(
    "reply",
    [
        Reply("It ra", finish_reason="length"),
        Reply("I cannot", finish_reason="refusal"),
        Reply("It", finish_reason="content_filter"),
        Reply("", finish_reason="stop"),
        Reply("Let me see", finish_reason="tool_calls", tool_calls=[ToolCall("1", "weather", {"city": "Oslo"})]),
    ],
)
def test_a_reply_that_did_not_end_well_is_not_kept(reply):
    with SimilarAnswers(embedder="trigrams") as memory:
        memory.remember(call(), reply)

        assert memory.stats().not_remembered == {"incomplete": 1}


def test_encoding_tells_which_classes_an_answer_is_made_of():
    classes: set[type] = set()
    encode([OFFER, {"quote": Quote(name="a", amount=1)}], classes)

    assert classes == {Offer, Price, Quote}


def test_an_annotation_names_the_classes_in_it():
    alias = NewType("alias", Price)  # type: ignore[valid-newtype]
    found = buildable(dict[str, list[Annotated[Offer, "note"]] | alias | None] | AsyncIterator[Quote] | TypeVar("T"))

    assert set(found.values()) == {Offer, Price, Quote}
    assert buildable(int) == buildable(None) == buildable("Offer") == {}


class Bot:
    async def ask(self, text: str) -> Offer | None: ...

    @classmethod
    async def of_class(cls, text: str) -> Offer: ...

    async def __call__(self, text: str) -> Quote: ...


async def ask(text: str) -> list[Offer]: ...


async def unresolvable(text: str) -> list[Nowhere]: ...  # noqa: F821


@pytest.mark.parametrize(
    ("target", "named"),
    [
        (ask, {Offer, Price}),
        (functools.partial(ask, "x"), {Offer, Price}),
        (Bot.ask, {Offer, Price}),
        (Bot().ask, {Offer, Price}),
        (Bot.of_class, {Offer, Price}),
        (Bot(), {Quote}),
        (functools.wraps(ask)(lambda *a: None), {Offer, Price}),
        (unresolvable, set()),
        (lambda text: None, set()),
        (len, set()),
    ],
)
def test_the_annotation_of_whatever_is_decorated_is_found(target, named):
    assert set(buildable(return_annotation(target)).values()) == named
    assert set(AnswerTypes(()).of("f", target).values()) == named


def test_types_must_be_classes_that_can_be_kept():
    with pytest.raises(ValueError, match="types must be dataclasses or pydantic models, got <class 'int'>"):
        SimilarAnswers(types=(int,))


def call(text=QUESTION):
    return FailedCall("bot.ask", (), {}, {"text": text}, now=1.0)


async def recalled(memory, asked):
    found = memory.recall(asked)
    return await found if hasattr(found, "__await__") else found


async def test_an_answer_of_a_class_that_nobody_names_serves_in_the_process_that_stored_it_only(tmp_path):
    path = tmp_path / "answers.db"
    with SimilarAnswers(path, embedder="trigrams") as memory:
        memory.remember(call(), OFFER)
        memory.flush()
        assert (await recalled(memory, call())).answer == OFFER
    with SimilarAnswers(path, embedder="trigrams") as memory:
        assert await recalled(memory, call()) is NO_ANSWER
        assert memory.stats().refused == {"type": 1}
    with SimilarAnswers(path, embedder="trigrams", types=(Offer,)) as memory:
        assert (await recalled(memory, call())).answer == OFFER


async def test_a_planted_row_in_the_file_does_not_hide_the_answer_beside_it(tmp_path):
    path = tmp_path / "answers.db"
    with SimilarAnswers(path, embedder="trigrams") as memory:
        memory.remember(call(), "five")
        memory.remember(call(f"{QUESTION}, please"), "six")
    rows = sqlite3.connect(path)
    evil = json.dumps({"$type": "dataclass", "value": [name_of(Job), {"command": "x"}]})
    rows.execute("UPDATE entries SET answer = ? WHERE text = ?", (evil, QUESTION))
    rows.commit()
    rows.close()
    with SimilarAnswers(path, embedder="trigrams") as memory:
        found = await recalled(memory, call())

    assert isinstance(found, Recalled)
    assert found.answer == "six"
    assert ran == []


is_down = False


async def offer(text: str) -> Offer | None:
    if is_down:
        raise ConnectionError
    return OFFER


async def test_the_return_annotation_of_the_decorated_function_is_what_the_site_names(tmp_path, registry):
    global is_down
    found = []
    for is_down in (False, True):
        with SimilarAnswers(tmp_path / "answers.db", embedder="trigrams") as memory:
            bot = degrade_to(memory, None, registry=registry, name=f"down: {is_down}")(offer)
            found.append(await bot(QUESTION))

    assert found == [OFFER, OFFER]
