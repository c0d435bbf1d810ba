"""No answer crosses from one function to another that carries something else, however alike the two look."""

from __future__ import annotations

import functools

import anyio
import pytest

from resilient_ai import LastAnswer, Registry, degrade_to
from tests.degrade_to.carriers import (
    MAKERS,
    MEMORIES,
    QUESTION,
    SAME,
    Client,
    Equal,
    World,
    answers,
    base,
    bots,
    settle,
)


@pytest.fixture(autouse=True)
def up():
    World.down = False


@pytest.mark.parametrize("new", MEMORIES.values(), ids=MEMORIES)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
async def test_each_hears_its_own_answers_and_none_of_the_others(make, new):
    memory = new()
    acme, evil = (degrade_to(memory, registry=Registry(listeners=()))(make(each)) for each in ("ACME", "EVIL"))
    await acme(QUESTION)
    settle(memory)

    assert await answers(acme, evil) == ["answer for ACME", None]


@pytest.mark.parametrize("new", MEMORIES.values(), ids=MEMORIES)
@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
async def test_functions_that_carry_equal_plain_data_share_answers(make, new):
    memory = new()
    one, again = (degrade_to(memory, registry=Registry(listeners=()))(make("ACME")) for _ in range(2))
    await one(QUESTION)
    settle(memory)

    assert await answers(again) == ["answer for ACME"]


# -- methods


@pytest.mark.parametrize("new", MEMORIES.values(), ids=MEMORIES)
@pytest.mark.parametrize("cls", [Client, Equal], ids=["plain", "with == of its own"])
async def test_instances_share_nothing(cls, new):
    memory = new()
    bot = bots(memory, cls)
    acme, evil = bot("ACME"), bot("EVIL")
    await acme.ask(QUESTION)
    settle(memory)

    assert await answers(acme.ask, evil.ask, functools.partial(bot.ask, acme)) == [
        "answer for ACME",
        None,
        "answer for ACME",
    ]


@pytest.mark.parametrize("new", MEMORIES.values(), ids=MEMORIES)
async def test_subclasses_of_one_class_method_share_nothing(new):
    memory = new()

    class Bot:
        @degrade_to(memory, registry=Registry(listeners=()))
        @classmethod
        async def ask(cls, prompt):
            return await base(cls.tenant, prompt)

    acme, evil = (type("Same", (Bot,), {"tenant": each}) for each in ("ACME", "EVIL"))
    await acme.ask(QUESTION)
    settle(memory)

    assert await answers(acme.ask, evil.ask) == ["answer for ACME", None]


async def test_an_instance_that_cannot_be_referred_to_counts_by_its_fields():
    class Bot:
        __slots__ = ("tenant",)

        def __init__(self, tenant):
            self.tenant = tenant

        @degrade_to(LastAnswer(), registry=Registry(listeners=()))
        async def ask(self, prompt):
            return await base(self.tenant, prompt)

    await Bot("ACME").ask(QUESTION)

    assert await answers(Bot("ACME").ask, Bot("EVIL").ask) == ["answer for ACME", None]


@pytest.mark.parametrize("new", MEMORIES.values(), ids=MEMORIES)
async def test_streams_share_nothing_either(new):
    memory = new()

    def make(tenant):
        @degrade_to(memory, registry=Registry(listeners=()))
        async def tell(prompt):
            yield await base(tenant, prompt)

        async def ask(prompt):
            return "".join([piece async for piece in tell(prompt)])

        return ask

    acme, evil = make("ACME"), make("EVIL")
    await acme(QUESTION)
    settle(memory)

    assert await answers(acme, evil) == ["answer for ACME", None]


# -- one computation for callers that look alike


async def test_a_rung_is_asked_for_each_of_two_instances_that_are_equal(registry):
    class Bot(Equal):
        @degrade_to(lambda call: f"sorry, {call.instance.tenant}", registry=registry)
        async def ask(self, prompt):
            raise ConnectionError

    said = {}

    async def ask(tenant):
        said[tenant] = await Bot(tenant).ask(QUESTION)

    async with anyio.create_task_group() as tasks:
        for tenant in ("ACME", "EVIL"):
            tasks.start_soon(ask, tenant)

    assert said == {"ACME": "sorry, ACME", "EVIL": "sorry, EVIL"}
