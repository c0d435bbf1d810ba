"""Methods that are decorated: bound like Python's own, to whatever they are found on, and on the fast path."""

from __future__ import annotations

import inspect
import typing
from types import MethodType

import pytest
import wrapt

from resilient_ai import (
    Endpoint,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
    resilient,
)


class Caller:
    """Its methods have policies."""

    def __init__(self, name: str = "client") -> None:
        self.name = name

    @circuit_breaker("methods", timeout_seconds=None)
    async def ask(self, prompt: str) -> str:
        """Ask it."""
        return f"{self.name}: {prompt}"


# -- like Python's own


def test_two_bound_methods_are_equal_when_function_and_instance_are_the_same():
    one, other = Caller(), Caller()

    assert one.ask == one.ask
    assert one.ask != other.ask
    assert len({one.ask, one.ask, other.ask}) == 2


def test_a_bound_method_shows_what_the_function_says_of_itself():
    client = Caller()

    assert isinstance(client.ask, MethodType)
    assert client.ask.__self__ is client
    assert (client.ask.__name__, client.ask.__doc__, client.ask.__module__) == ("ask", "Ask it.", __name__)
    assert typing.get_type_hints(client.ask) == {"prompt": str, "return": str}
    assert repr(client.ask) == repr(Caller.ask)
    with pytest.raises(AttributeError, match="missing"):
        client.ask.missing  # noqa: B018


async def test_on_its_class_a_method_takes_the_instance_first():
    assert await Caller.ask(Caller("other"), "hi") == "other: hi"
    assert list(inspect.signature(Caller.ask).parameters) == ["self", "prompt"]
    with pytest.raises(TypeError, match="positional argument"):
        await Caller.ask()


# -- what it is found on


def stacked(function, registry):
    """All that have a part in a fast path."""
    call = circuit_breaker(registry=registry, timeout_seconds=None)(function)
    call = failover(Endpoint("eu"), strategy="priority", registry=registry)(call)
    return degrade_to("sorry", registry=registry)(classified_retry(registry=registry)(call))


async def method(self, endpoint, *words):
    return self, endpoint.name, *words


method.__qualname__ = "Found.method"  # as if it had been written in a class


@pytest.mark.parametrize("words", [(), ("hi",), ("how", "are", "you")], ids=len)
async def test_the_endpoint_comes_after_self_however_many_arguments_follow(registry, words):
    client = type("Client", (), {"ask": stacked(method, registry)})()

    assert await client.ask(*words) == (client, "eu", *words)
    assert await type(client).ask(client, *words) == (client, "eu", *words)


@pytest.mark.parametrize("words", [{}, {"self": "client"}], ids=["nothing", "self by its name"])
async def test_a_method_that_is_called_on_its_class_without_an_instance_is_a_type_error(registry, words):
    client = type("Client", (), {"ask": stacked(method, registry)})

    with pytest.raises(TypeError):
        await client.ask(**words)


async def test_a_function_that_is_found_on_a_class_later_is_a_method_there_and_a_function_elsewhere(registry):
    @failover(Endpoint("eu"), registry=registry)
    async def given(*arguments):
        return [getattr(each, "name", each) for each in arguments]

    client = type("Client", (), {"name": "client"})()
    type(client).ask = given

    assert await client.ask("hi") == ["client", "eu", "hi"]
    assert await given("hi") == ["eu", "hi"]


@pytest.mark.parametrize("above", [False, True], ids=["below", "above"])
async def test_a_class_method_gets_the_class_it_is_called_on(registry, above):
    asked = classmethod(stacked(method, registry)) if above else stacked(classmethod(method), registry)
    asking = type("Asking", (), {"ask": asked})
    heir = type("Heir", (asking,), {})

    assert await heir.ask("hi") == (heir, "eu", "hi")
    assert await heir().ask("hi") == (heir, "eu", "hi")


BARE = [adaptive_limit, batched, circuit_breaker, classified_retry, resilient]


@pytest.mark.parametrize("decorator", BARE, ids=lambda each: each.__name__)
@pytest.mark.parametrize("kind", [classmethod, staticmethod])
async def test_a_decorator_without_parentheses_takes_a_class_method_and_a_static_one(decorator, kind, request):
    async def ask(*words):
        return words if decorator is not batched else [(*words[:-1], item) for item in words[-1]]

    ask.__qualname__ = request.node.name  # a state of its own in the default registry
    asking = type("Asking", (), {"ask": decorator(kind(ask))})
    given = (asking, "hi") if kind is classmethod else ("hi",)

    assert await asking.ask("hi") == given
    assert await asking().ask("hi") == given


@pytest.mark.parametrize("decorator", BARE, ids=lambda each: each.__name__)
def test_a_decorator_without_parentheses_refuses_a_property_at_once(decorator):
    with pytest.raises(TypeError, match="got a property; decorate the method"):
        decorator(property(lambda self: "hi"))


async def test_somebody_elses_descriptor_below_is_bound_as_it_wants_to_be(registry):
    instances = []

    @wrapt.decorator
    async def traced(wrapped, instance, args, kwargs):
        instances.append(instance)
        return await wrapped(*args, **kwargs)

    async def ask(self, prompt):
        return prompt

    client = type("Client", (), {"ask": circuit_breaker(registry=registry)(traced(ask))})()

    assert await client.ask("hi") == "hi"
    assert await type(client).ask(client, "hi") == "hi"
    assert instances == [client, client]


async def test_a_method_of_another_object_stays_bound_to_that(registry):
    client = type("Holder", (), {"ask": circuit_breaker(registry=registry)(Caller("bound before").ask)})()

    assert await client.ask("hi") == "bound before: hi"


# -- the fast path


def coroutines_of(call):
    """The names of the coroutines that a call runs through."""

    class Pause:
        def __await__(self):
            yield

    coroutine = call(Pause())
    coroutine.send(None)
    names, below = [], coroutine
    while hasattr(below, "cr_code"):
        names.append(below.cr_code.co_name)
        below = below.cr_await
    coroutine.close()
    return names


async def pausing(self, endpoint, pause):
    await pause


pausing.__qualname__ = "Found.pausing"


@pytest.mark.parametrize("kind", ["method", "class method below", "class method above", "static method"])
def test_methods_of_every_kind_take_one_coroutine_for_the_whole_stack(registry, kind):
    if kind == "static method":

        async def static(endpoint, pause):
            await pause

        found, names = stacked(staticmethod(static), registry), ["called", "static"]
    elif kind == "class method below":
        found, names = stacked(classmethod(pausing), registry), ["called", "pausing"]
    else:
        found, names = stacked(pausing, registry), ["called", "pausing"]
        found = classmethod(found) if kind == "class method above" else found
    client = type("Client", (), {"ask": found})()

    assert coroutines_of(client.ask) == names
