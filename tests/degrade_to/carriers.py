"""Functions that are not the same one, each made for a tenant, and how to ask them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import wrapt

from resilient_ai import LastAnswer, Registry, classified_retry, degrade_to
from resilient_ai.similar import SimilarAnswers

QUESTION = "how do I reset the password of my account"


class World:
    """Whether the provider is down, for functions that have no other way to know."""

    down = False


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


SAME = {"closure": closure, "a number": closure_over_a_number, "a dict": closure_over_a_dict, "a partial": partial}
SAME |= {"a callable object": Client, "slots": Slotted, "a frozen dataclass": Session, "nested": nested_closure}


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


def bots(memory, cls):
    """A class whose method is decorated."""

    class Bot(cls):
        @degrade_to(memory, registry=Registry(listeners=()))
        async def ask(self, prompt):
            return await base(self.tenant, prompt)

    return Bot


def of_its_tenant(call):
    return call.instance.tenant
