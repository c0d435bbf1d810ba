"""A decorated function is what tools and people take it for, wherever it stands in a class."""

from __future__ import annotations

import functools
import inspect
import typing
import weakref

import pydantic
import pytest

from resilient_ai import (
    Endpoint,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
)


@pytest.fixture
def stack(registry):
    """A failover and a circuit: one hands an argument in, the other does not."""

    def put_on(fn):
        return failover(Endpoint("e"), registry=registry)(circuit_breaker(registry=registry)(fn))

    return put_on


def hints_and_signature(fn):
    signature = inspect.signature(fn)
    shown = {each.name: each.annotation for each in signature.parameters.values()}
    shown["return"] = signature.return_annotation
    return typing.get_type_hints(fn), {
        name: eval(each) if isinstance(each, str) else each for name, each in shown.items()
    }


def places(decorate):
    """One function in each place where functions stand, decorated; each takes (texts, n) but for what is handed in."""

    class Service:
        @decorate
        async def method(self, endpoint: Endpoint, text: str, n: int = 1) -> str:
            return f"{endpoint.name} {text} {n}"

        @classmethod
        @decorate
        async def class_method(cls, endpoint: Endpoint, text: str, n: int = 1) -> str:
            return f"{endpoint.name} {text} {n}"

        @decorate
        @classmethod
        async def around_class_method(cls, endpoint: Endpoint, text: str, n: int = 1) -> str:
            return f"{endpoint.name} {text} {n}"

        @staticmethod
        @decorate
        async def static_method(endpoint: Endpoint, text: str, n: int = 1) -> str:
            return f"{endpoint.name} {text} {n}"

        @decorate
        @staticmethod
        async def around_static_method(endpoint: Endpoint, text: str, n: int = 1) -> str:
            return f"{endpoint.name} {text} {n}"

        @decorate
        async def odd(me, endpoint: Endpoint, text: str, n: int = 1) -> str:  # noqa: N805
            return f"{endpoint.name} {text} {n}"

    @decorate
    async def function(endpoint: Endpoint, text: str, n: int = 1) -> str:
        return f"{endpoint.name} {text} {n}"

    async def longer(endpoint: Endpoint, text: str, n: int, loud: bool) -> str:
        return f"{endpoint.name} {text} {n}"

    service = Service()
    return {
        "function": function,
        "partial": decorate(functools.partial(longer, loud=True)),
        "method": service.method,
        "class method": Service.class_method,
        "class method of an instance": service.class_method,
        "around a class method": Service.around_class_method,
        "static method": Service.static_method,
        "static method of an instance": service.static_method,
        "around a static method": Service.around_static_method,
        "a method whose self is called otherwise": service.odd,
    }


PLACES = list(places(lambda fn: fn))


@pytest.mark.parametrize("place", PLACES)
async def test_what_tools_read_of_a_function_is_what_its_caller_passes(stack, place):
    fn = places(stack)[place]
    hints, shown = hints_and_signature(fn)

    assert [name for name in shown if name not in ("return", "loud")] == ["text", "n"]
    assert shown == hints
    assert await fn("hello", n=2) == "e hello 2"


@pytest.mark.parametrize("place", PLACES)
async def test_pydantic_takes_what_the_function_takes_and_refuses_the_rest(stack, place):
    fn = pydantic.validate_call(places(stack)[place])

    assert await fn("hello", n="3") == "e hello 3"
    with pytest.raises(pydantic.ValidationError):
        await fn("hello", n="many")


@pytest.mark.parametrize("put_on", [circuit_breaker, classified_retry, degrade_to("sorry")])
def test_annotations_that_are_strings_can_be_evaluated_as_those_of_the_function(put_on):
    """As servers of tools ask for them (`eval_str=True`), in a module with postponed annotations such as this."""

    async def told_as_text(prompt: str, limit: int = 1) -> list[str]: ...

    class Service:
        ask = put_on(told_as_text)

    for fn in (put_on(told_as_text), Service().ask):
        shown = inspect.signature(fn, eval_str=True)
        assert shown.return_annotation == list[str]
        assert shown.parameters["limit"].annotation is int
        assert inspect.signature(fn).parameters["limit"].annotation == "int"


async def test_a_batched_function_shows_one_item_everywhere(registry):
    @batched(batch_size=2, batch_timeout=0, registry=registry)
    async def embed(texts: list[str], *, model: str = "m") -> list[float]:
        return [1.0 for _ in texts]

    class Service:
        @batched(batch_size=2, batch_timeout=0, registry=registry)
        async def embed(self, texts: list[str]) -> list[float]:
            return [1.0 for _ in texts]

        @staticmethod
        @batched(batch_size=2, batch_timeout=0, registry=registry)
        async def still(texts: list[str]) -> list[float]:
            return [1.0 for _ in texts]

    for fn in (embed, Service().embed, Service.still, Service().still):
        hints, shown = hints_and_signature(fn)

        assert hints == shown
        assert (hints["texts"], hints["return"]) == (str, float)
        assert await pydantic.validate_call(fn)("hello") == 1.0


async def test_a_class_method_gets_its_class_by_super_by_another_name_and_below_another_decorator(stack):
    def logged(fn):
        @functools.wraps(fn)
        async def logs(*args, **kwargs):
            return await fn(*args, **kwargs)

        return logs

    class Base:
        @classmethod
        @stack
        async def ask(cls, endpoint, q):
            return cls.__name__, endpoint.name, q

        @stack
        async def _other(cls, endpoint, q):  # noqa: N805
            return cls.__name__, endpoint.name, q

        other = classmethod(_other)

        @classmethod
        @logged
        @stack
        async def below(cls, endpoint, q):
            return cls.__name__, endpoint.name, q

        @logged
        @stack
        async def method(self, endpoint, q):
            return type(self).__name__, endpoint.name, q

    class Child(Base):
        @classmethod
        async def ask(cls, q):
            return await super().ask(q)

        async def method(self, q):
            return await super().method(q)

    for call in (Child.ask, Child().ask, Child.other, Child.below, Child().method):
        assert await call("q") == ("Child", "e", "q")
    assert await Base.ask("q") == ("Base", "e", "q")
    assert await Base.method(Child(), "q") == ("Child", "e", "q")


async def test_a_fallback_hears_of_the_class_and_not_as_an_argument(registry):
    class Base:
        @classmethod
        @degrade_to(lambda call: (call.instance.__name__, sorted(call.arguments)), registry=registry)
        async def ask(cls, q):
            raise ConnectionError("refused")

    class Child(Base):
        @classmethod
        async def ask(cls, q):
            return await super().ask(q)

    assert await Child.ask("q") == ("Child", ["q"])


async def test_a_partialmethod_of_a_decorated_method_works(stack):
    class Service:
        @stack
        async def ask(self, endpoint, q, lang="en"):
            return endpoint.name, q, lang

        ask_de = functools.partialmethod(ask, lang="de")

    assert await Service().ask_de("x") == ("e", "x", "de")


@pytest.mark.parametrize(
    "policy",
    [circuit_breaker("c"), classified_retry("r"), adaptive_limit("l"), degrade_to("x"), batched("b")],
    ids=["circuit_breaker", "classified_retry", "adaptive_limit", "degrade_to", "batched"],
)
def test_a_policy_on_a_partialmethod_or_another_descriptor_says_what_to_do(policy):
    async def ask(self, q):
        return q

    with pytest.raises(TypeError, match="got a partialmethod; decorate the method"):
        policy(functools.partialmethod(ask, "x"))
    with pytest.raises(TypeError, match="needs a function, got a property"):
        policy(property(ask))
    with pytest.raises(TypeError, match="needs a function, got a cached_property"):
        policy(functools.cached_property(ask))


async def test_a_method_can_be_referred_to_weakly(stack):
    class Service:
        @stack
        async def ask(self, endpoint, q):
            return endpoint.name, q

        @classmethod
        @stack
        async def of_class(cls, endpoint, q):
            return endpoint.name, q

    service = Service()
    kept = weakref.WeakMethod(service.ask)

    assert await kept()("x") == ("e", "x")
    assert await weakref.WeakMethod(Service.of_class)()("x") == ("e", "x")
    del service
    assert kept() is None


def test_a_repl_that_asks_for_a_mime_bundle_gets_the_stack(stack):
    @stack
    async def ask(endpoint, q): ...

    service = type("Service", (), {"ask": ask})()

    for fn in (ask, service.ask):
        assert fn._repr_mimebundle_() == {"text/plain": repr(ask)}
        assert "failover" in repr(fn)


def test_annotations_that_are_set_from_outside_reach_the_function(stack):
    @stack
    async def ask(endpoint, q): ...

    ask.__annotations__ = {"q": int}

    assert typing.get_type_hints(ask) == {"q": int}


# -- code that is run again

PAGE = """
from resilient_ai import NEUTRAL, Endpoint, LastAnswer, circuit_breaker, degrade_to, failover

class AppError(Exception): ...

async def alive(endpoint): return True

@degrade_to(LastAnswer(), lambda call: "rule", name="answers", registry=registry)
@failover(Endpoint("us"), Endpoint("eu"), name="regions", health_check=alive, registry=registry)
@circuit_breaker("provider", failure_threshold=THRESHOLD, ignore=(*NEUTRAL, AppError), registry=registry)
async def ask(endpoint, q): return q
"""


def run_page(registry, threshold=5, name="page", source=PAGE):
    space = {"registry": registry, "__name__": name}
    exec(compile(source.replace("THRESHOLD", str(threshold)), f"{name}.py", "exec"), space)
    return space["ask"]


async def test_a_page_that_is_run_again_replaces_what_it_defined_before(registry):
    for _ in range(3):
        assert await run_page(registry)("hi") == "hi"
    await run_page(registry, threshold=7)("hi")

    assert registry.circuit_breakers["provider[us]"].stats().total_calls == 1


async def test_a_page_that_is_run_again_with_the_same_settings_keeps_its_state(registry):
    source = """
from resilient_ai import circuit_breaker

@circuit_breaker("provider", failure_threshold=THRESHOLD, registry=registry)
async def ask(q): return q
"""
    for _ in range(3):
        await run_page(registry, source=source)("hi")

    assert registry.circuit_breakers["provider"].stats().total_calls == 3


def test_another_place_with_the_same_name_and_other_settings_is_an_error(registry):
    run_page(registry)

    with pytest.raises(ValueError, match="already exists with other settings"):
        run_page(registry, threshold=7, name="another_page")


def test_one_factory_that_gives_one_name_two_settings_is_an_error(registry):
    def make(threshold):
        @circuit_breaker("provider", failure_threshold=threshold, registry=registry)
        async def ask(): ...

        return ask

    make(3)
    with pytest.raises(ValueError, match="failure_threshold 3 there, 4 here"):
        make(4)


def test_a_place_that_shares_a_state_with_another_cannot_change_it_by_running_again(registry):
    source = """
from resilient_ai import circuit_breaker

@circuit_breaker("provider", failure_threshold=THRESHOLD, registry=registry)
async def ask(q): return q
"""
    run_page(registry, source=source)
    run_page(registry, source=source, name="another_page")

    with pytest.raises(ValueError, match="failure_threshold 5 there, 7 here"):
        run_page(registry, source=source, threshold=7)
