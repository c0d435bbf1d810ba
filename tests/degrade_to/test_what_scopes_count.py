"""What belongs to a scope: text as it is now, the rest as it was first seen, and what the user says instead."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from unittest.mock import AsyncMock

import pytest

from resilient_ai import LastAnswer, Registry, degrade_to
from resilient_ai._degrade_to.scope import Carried
from resilient_ai.similar import SimilarAnswers
from tests.degrade_to.carriers import (
    MEMORIES,
    QUESTION,
    SAME,
    Client,
    Holder,
    Session,
    World,
    answers,
    base,
    bots,
    closure,
    closure_over_an_object,
    of_its_tenant,
    settle,
)


@pytest.fixture(autouse=True)
def up():
    World.down = False


# -- what changes


@pytest.mark.parametrize("new", MEMORIES.values(), ids=MEMORIES)
async def test_text_in_a_cell_counts_as_it_is_now(new):
    memory, tenant, session = new(), "ACME", {"tenant": "ACME"}

    @degrade_to(memory, registry=Registry(listeners=()))
    async def by_name(prompt):
        return await base(tenant, prompt)

    @degrade_to(memory, registry=Registry(listeners=()))
    async def by_session(prompt):
        return await base(session["tenant"], prompt)

    for ask in (by_name, by_session):
        await ask(QUESTION)
    settle(memory)
    tenant = session["tenant"] = "EVIL"
    assert await answers(by_name, by_session) == [None, None]
    tenant = session["tenant"] = "ACME"

    assert await answers(by_name, by_session) == ["answer for ACME"] * 2


@pytest.mark.parametrize("new", MEMORIES.values(), ids=MEMORIES)
async def test_what_a_function_counts_switches_and_collects_starts_no_new_scope(new):
    memory, calls, fresh, prompts, cache, spare = new(), 0, True, [], {}, iter(())

    @degrade_to(memory, registry=Registry(listeners=()))
    async def ask(prompt):
        nonlocal calls, fresh
        calls, fresh = calls + 1, False
        prompts.append(prompt)
        cache[f"{prompt} {calls}"] = spare
        ask.calls = calls
        return await base("ACME", prompt)

    await ask(QUESTION)
    settle(memory)

    assert await answers(ask, ask) == ["answer for ACME"] * 2


@dataclass
class Service:
    client: Client
    calls: int = 0

    @degrade_to(LastAnswer(), registry=Registry(listeners=()))
    async def ask(self, prompt):
        self.calls += 1
        return await self.client(prompt)


async def test_a_service_that_counts_its_calls_is_one_scope_and_another_one_another():
    acme, evil = Service(Client("ACME")), Service(Client("EVIL"))
    await acme.ask(QUESTION)

    assert await answers(acme.ask, acme.ask, evil.ask) == ["answer for ACME", "answer for ACME", None]


async def test_a_mock_hears_what_it_said_itself():
    memory = LastAnswer()
    asks = [degrade_to(memory, registry=Registry(listeners=()))(AsyncMock(side_effect=base)) for _ in range(2)]
    await asks[0]("ACME", QUESTION)
    World.down = True

    assert await asks[0]("ACME", QUESTION) == "answer for ACME"


async def test_a_cell_that_is_filled_later_counts_from_then_on():
    def make(tenant):
        @degrade_to(memory, registry=Registry(listeners=()))
        async def ask(prompt):
            return await client(prompt)

        client = Client(tenant)
        return ask

    memory = LastAnswer()
    acme, evil = make("ACME"), make("EVIL")
    await acme(QUESTION)

    assert await answers(acme, evil) == ["answer for ACME", None]


def test_a_function_that_carries_too_much_counts_by_its_identity():
    def make(tenant):
        things = tuple(f"{number}" for number in range(30_000)), tenant

        async def ask():
            return things

        return ask

    one, other = Carried(make("ACME")), Carried(make("EVIL"))

    assert one.scope() == one.scope() != other.scope()
    assert one.scope().by_identity == ("things (tuple)",)


def test_what_raises_when_it_is_looked_at_counts_by_its_identity():
    class Odd:
        @property
        def __dict__(self):
            raise RuntimeError

        def __hash__(self):
            raise RuntimeError

        async def __call__(self):
            return 1

    one, other = Carried(Odd()), Carried(Odd())
    mock = Carried(AsyncMock(spec=base))

    assert one.scope() == one.scope() != other.scope()
    assert mock.scope() == mock.scope() != Carried(AsyncMock(spec=base)).scope()


def test_what_carries_itself_ends():
    def make(tenant):
        async def ask():
            return ask, everything, tenant

        everything = [ask]
        everything.append(everything)
        return ask

    ask, other = Carried(make("ACME")), Carried(make("EVIL"))

    assert ask.scope() == ask.scope() != other.scope()


def test_a_scope_names_what_only_this_process_can_tell_apart():
    client = Client("ACME")
    carried = Carried(closure_over_an_object("ACME"))

    assert Carried(base).scope().by_identity == ()
    assert Carried(closure("ACME")).scope().by_identity == ()
    assert carried.scope().by_identity == ("client (Client)",)
    assert Carried(base).scope(client).by_identity == ("self (Client)",)
    assert Carried(Client("ACME")).scope().by_identity == ()
    assert Carried(Session("ACME").ask).scope().by_identity == ()


# -- said by the user


async def test_a_scope_of_ones_own_replaces_what_the_function_carries():
    memory = LastAnswer(scope=of_its_tenant)
    bot = bots(memory, Client)
    await bot("ACME").ask(QUESTION)
    nobody = bots(LastAnswer(scope=lambda call: None), Client)("ACME")
    await nobody.ask(QUESTION)

    assert await answers(bot("ACME").ask, bot("EVIL").ask, nobody.ask) == ["answer for ACME", None, None]


async def test_a_key_of_ones_own_replaces_the_arguments_alone():
    memory = LastAnswer(key=lambda call: "any prompt")
    acme, evil = (degrade_to(memory, registry=Registry(listeners=()))(closure(each)) for each in ("ACME", "EVIL"))
    await acme("something else")

    assert await answers(acme, evil) == ["answer for ACME", None]


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (closure_over_an_object, r"client \(Client\)"),
        (lambda tenant: Client(tenant).ask, r"self \(Client\)"),
        (lambda tenant: functools.partial(base, Client(tenant)), r"0 \(Client\)"),
        (Holder, r"client \(Client\)"),
    ],
    ids=["closure", "bound method", "partial", "callable object"],
)
async def test_a_file_refuses_at_the_first_call_what_no_other_process_can_tell_apart(tmp_path, make, what):
    with SimilarAnswers(tmp_path / "answers.db", embedder="trigrams") as memory:
        ask = degrade_to(memory, "sorry", registry=Registry(listeners=()))(make("ACME"))
        for _ in range(2):
            with pytest.raises(ValueError, match=rf"answers\.db.* tell apart: {what}; say who shares .* scope="):
                await ask(QUESTION)


async def test_a_file_refuses_the_methods_of_instances_that_count_by_identity(tmp_path):
    with SimilarAnswers(tmp_path / "answers.db", embedder="trigrams", scope="a value tells no two apart") as memory:
        with pytest.raises(ValueError, match=r"Bot\.ask carries .*: self \(Bot\); say who shares"):
            await bots(memory, Client)("ACME").ask(QUESTION)

        assert memory.stats().entries == 0


async def test_a_file_serves_what_carries_plain_data_and_what_has_a_scope_of_its_own(tmp_path):
    for run in range(2):
        World.down = bool(run)
        with SimilarAnswers(tmp_path / "plain.db", embedder="trigrams") as memory:
            asks = [degrade_to(memory, registry=Registry(listeners=()))(make("ACME")) for make in SAME.values()]
            assert [await ask(QUESTION) for ask in asks] == ["answer for ACME"] * len(asks)
        with SimilarAnswers(
            tmp_path / "own.db", embedder="trigrams", scope=lambda call: call.instance.tenant
        ) as memory:
            assert await bots(memory, Client)("ACME").ask(QUESTION) == "answer for ACME"
