"""No answer crosses from one function to another that carries something else, however alike the two look."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import pytest
import wrapt

from resilient_ai import LastAnswer, Registry, classified_retry, degrade_to
from resilient_ai._degrade_to.scope import Carried
from resilient_ai.similar import SimilarAnswers

QUESTION = "how do I reset the password of my account"


class World:
    """Whether the provider is down, for functions that have no other way to know."""

    down = False


@pytest.fixture(autouse=True)
def up():
    World.down = False


async def base(tenant, prompt):
    if World.down:
        raise ConnectionError("down")
    return f"answer for {tenant}"


# -- functions that are not the same one, each made for a tenant


def closure(tenant):
    async def ask(prompt):
        return await base(tenant, prompt)

    return ask


def nested_closure(tenant):
    async def inner(prompt):
        return await base(tenant, prompt)

    async def ask(prompt):
        return await inner(prompt)

    return ask


def closure_over_a_number(tenant):
    number = {"ACME": 1, "EVIL": 2}[tenant]

    async def ask(prompt):
        return await base({1: "ACME", 2: "EVIL"}[number], prompt)

    return ask


def closure_over_a_dict(tenant):
    settings = {"account": {"name": tenant}, "model": "small"}

    async def ask(prompt):
        return await base(settings["account"]["name"], prompt)

    return ask


def closure_over_a_list(tenant):
    tenants = [tenant]

    async def ask(prompt):
        return await base(tenants[0], prompt)

    return ask


def closure_over_an_object(tenant):
    client = Client(tenant)

    async def ask(prompt):
        return await client(prompt)

    return ask


def closure_over_a_bound_method(tenant):
    method = Client(tenant).ask

    async def ask(prompt):
        return await method(prompt)

    return ask


def closure_over_a_lambda(tenant):
    name = (lambda: "ACME") if tenant == "ACME" else (lambda: "EVIL")

    async def ask(prompt):
        return await base(name(), prompt)

    return ask


def default_of_an_inner_function(tenant):
    async def inner(prompt, tenant=tenant):
        return await base(tenant, prompt)

    async def ask(*args):
        return await inner(*args)

    return ask


def keyword_default(tenant):
    async def ask(prompt, *, tenant=tenant):
        return await base(tenant, prompt)

    return ask


def function_attribute(tenant):
    async def ask(prompt):
        return await base(ask.tenant, prompt)

    ask.tenant = tenant
    return ask


def other_code_of_one_name(tenant):
    if tenant == "ACME":

        async def ask(prompt):
            return await base("ACME", prompt)

    else:

        async def ask(prompt):
            return await base("EVIL", prompt)

    return ask


def partial(tenant):
    return functools.partial(base, tenant)


def partial_by_keyword(tenant):
    async def ask(prompt, *, tenant):
        return await base(tenant, prompt)

    return functools.partial(ask, tenant=tenant)


def partial_of_a_partial(tenant):
    return functools.partial(functools.partial(base), tenant)


class Client:
    def __init__(self, tenant):
        self.tenant = tenant

    async def __call__(self, prompt):
        return await base(self.tenant, prompt)

    async def ask(self, prompt):
        return await base(self.tenant, prompt)


class Slotted:
    __slots__ = ("tenant",)

    def __init__(self, tenant):
        self.tenant = tenant

    async def __call__(self, prompt):
        return await base(self.tenant, prompt)


class Equal(Client):
    """Equal to every other one, whoever its tenant is."""

    def __eq__(self, other):
        return isinstance(other, Equal)

    def __hash__(self):
        return 1


@dataclass(frozen=True)
class Session:
    tenant: str = field(compare=False)
    model: str = "small"

    async def __call__(self, prompt):
        return await base(self.tenant, prompt)

    async def ask(self, prompt):
        return await base(self.tenant, prompt)


class Holder:
    """A callable object that holds a client."""

    def __init__(self, tenant):
        self.client = Client(tenant)

    async def __call__(self, prompt):
        return await self.client(prompt)


def well_behaved(fn):
    @functools.wraps(fn)
    async def wrapper(*args, **kwargs):
        return await fn(*args, **kwargs)

    return wrapper


def careless(fn):
    async def wrapper(*args, **kwargs):
        return await fn(*args, **kwargs)

    return wrapper


@wrapt.decorator
async def with_wrapt(wrapped, instance, args, kwargs):
    return await wrapped(*args, **kwargs)


def a_wrapt_decorator_with_a_cell(tenant):
    @wrapt.decorator
    async def for_tenant(wrapped, instance, args, kwargs):
        return await wrapped(tenant, *args, **kwargs)

    return for_tenant(base)


def class_of_its_own(tenant):
    async def ask(cls, prompt):
        return await base(cls.tenant, prompt)

    kind = type("Kind", (), {"tenant": tenant, "ask": classmethod(ask)})
    return kind.ask


MAKERS = {
    each.__name__.replace("_", " "): each
    for each in (
        closure,
        nested_closure,
        closure_over_a_number,
        closure_over_a_dict,
        closure_over_a_list,
        closure_over_an_object,
        closure_over_a_bound_method,
        closure_over_a_lambda,
        default_of_an_inner_function,
        keyword_default,
        function_attribute,
        other_code_of_one_name,
        partial,
        partial_by_keyword,
        partial_of_a_partial,
        Client,
        Slotted,
        Equal,
        Session,
        Holder,
        a_wrapt_decorator_with_a_cell,
        class_of_its_own,
    )
} | {
    "a bound method": lambda tenant: Client(tenant).ask,
    "a bound method of an equal instance": lambda tenant: Equal(tenant).ask,
    "a bound method of an instance with a field that is not compared": lambda tenant: Session(tenant).ask,
    "a partial of a bound method": lambda tenant: functools.partial(Client(tenant).ask),
    "a decorator in between": lambda tenant: well_behaved(closure(tenant)),
    "a decorator that hides what it is on": lambda tenant: careless(closure(tenant)),
    "a decorator made with wrapt": lambda tenant: with_wrapt(closure(tenant)),
    "a policy and a decorator in between": lambda tenant: careless(
        classified_retry(max_attempts=1, reraise=True, registry=Registry(listeners=()))(closure(tenant))
    ),
}
MEMORIES = {"LastAnswer": LastAnswer, "SimilarAnswers": lambda: SimilarAnswers(embedder="trigrams")}


def settle(memory):
    getattr(memory, "flush", lambda: None)()


async def answers(*functions):
    """What each says while the provider is down."""
    World.down = True
    found = []
    for ask in functions:
        try:
            found.append(await ask(QUESTION))
        except ConnectionError:
            found.append(None)
    return found


@pytest.mark.parametrize("new", MEMORIES.values(), ids=MEMORIES)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
async def test_each_hears_its_own_answers_and_none_of_the_others(make, new):
    memory = new()
    acme, evil = (degrade_to(memory, registry=Registry(listeners=()))(make(each)) for each in ("ACME", "EVIL"))
    await acme(QUESTION)
    settle(memory)

    assert await answers(acme, evil) == ["answer for ACME", None]


SAME = {"closure": closure, "a number": closure_over_a_number, "a dict": closure_over_a_dict, "a partial": partial}
SAME |= {"a callable object": Client, "slots": Slotted, "a frozen dataclass": Session, "nested": nested_closure}


@pytest.mark.parametrize("new", MEMORIES.values(), ids=MEMORIES)
@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
async def test_functions_that_carry_equal_plain_data_share_answers(make, new):
    memory = new()
    one, again = (degrade_to(memory, registry=Registry(listeners=()))(make("ACME")) for _ in range(2))
    await one(QUESTION)
    settle(memory)

    assert await answers(again) == ["answer for ACME"]


# -- methods


def bots(memory, cls):
    """A class whose method is decorated."""

    class Bot(cls):
        @degrade_to(memory, registry=Registry(listeners=()))
        async def ask(self, prompt):
            return await base(self.tenant, prompt)

    return Bot


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


def of_its_tenant(call):
    return call.instance.tenant


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


# -- one computation for callers that look alike


async def test_a_rung_is_asked_for_each_of_two_instances_that_are_equal(registry):
    import anyio

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
