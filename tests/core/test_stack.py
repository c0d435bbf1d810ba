"""One wrapper around everything that can be called, true to what it wraps."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle

import pytest

from resilient_ai import Endpoint, batched, circuit_breaker, describe, failover
from resilient_ai._core.wrapper import ResilientFunction

guard = circuit_breaker("module-level", timeout_seconds=None)


@guard
async def ask(prompt: str, *, key: str = "sk-planted-default") -> str:
    """Ask it."""
    return prompt


@circuit_breaker("judged", timeout_seconds=None, reject=lambda _result: None)
async def judged(prompt: str) -> str:
    return prompt


class Client:
    """Every kind of method."""

    def __init__(self, name: str = "client") -> None:
        self.name = name

    @guard
    async def ask(self, prompt: str) -> str:
        return f"{self.name}: {prompt}"

    @classmethod
    @guard
    async def inner_class(cls, prompt: str) -> str:
        return f"{cls.__name__}: {prompt}"

    @guard
    @classmethod
    async def outer_class(cls, prompt: str) -> str:
        return f"{cls.__name__}: {prompt}"

    @staticmethod
    @guard
    async def inner_static(prompt: str) -> str:
        return prompt

    @guard
    @staticmethod
    async def outer_static(prompt: str) -> str:
        return prompt

    @guard
    async def tokens(self, count: int):
        for number in range(count):
            yield number

    async def __call__(self, prompt: str) -> str:
        return f"called {prompt}"


def wrapped_by_somebody_else(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)

    return wrapper


# -- what can be decorated


async def test_methods_of_every_kind_get_their_instance_or_class():
    client = Client()

    assert await client.ask("hi") == "client: hi"
    assert await Client.ask(client, "hi") == "client: hi"
    assert [await each.inner_class("hi") for each in (client, Client)] == ["Client: hi"] * 2
    assert [await each.outer_class("hi") for each in (client, Client)] == ["Client: hi"] * 2
    assert [await each.inner_static("hi") for each in (client, Client)] == ["hi"] * 2
    assert [await each.outer_static("hi") for each in (client, Client)] == ["hi"] * 2
    assert [number async for number in client.tokens(3)] == [0, 1, 2]


async def test_partials_callables_bound_methods_and_other_peoples_decorators_work():
    async def raw(prompt: str, suffix: str) -> str:
        return prompt + suffix

    assert await guard(functools.partial(raw, suffix="!"))("hi") == "hi!"
    assert await guard(Client())("hi") == "called hi"
    assert await guard(Client().ask)("hi") == "client: hi"
    assert await guard(wrapped_by_somebody_else(raw))("hi", "?") == "hi?"
    assert await guard(wrapped_by_somebody_else(guard(raw)))("hi", "?") == "hi?"


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (Client, "needs a function, got the class Client; decorate its methods"),
        (42, "needs a function, got an int"),
    ],
)
def test_what_is_no_function_is_a_type_error_that_names_it(thing, message):
    with pytest.raises(TypeError, match=f"@circuit_breaker {message}"):
        circuit_breaker("x")(thing)


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (lambda: 1, "got the plain function .*; make it `async def`"),
        (print, "got the plain function print"),
        (functools.partial(print), "got a plain partial"),
    ],
)
def test_a_policy_for_async_functions_alone_says_so_of_a_plain_one(thing, message):
    with pytest.raises(TypeError, match=f"@batched needs an async function, {message}"):
        batched("x")(thing)


# -- true to what it wraps


def test_name_doc_module_and_signature_stay_true():
    assert (ask.__name__, ask.__qualname__, ask.__doc__, ask.__module__) == ("ask", "ask", "Ask it.", __name__)
    assert str(inspect.signature(ask)) == "(prompt: 'str', *, key: 'str' = 'sk-planted-default') -> 'str'"
    assert list(inspect.signature(Client.ask).parameters) == ["self", "prompt"]
    assert list(inspect.signature(Client().ask).parameters) == ["prompt"]


def test_it_is_still_what_it_was_to_inspect():
    assert inspect.iscoroutinefunction(ask)
    assert inspect.iscoroutinefunction(Client().ask)
    assert inspect.isasyncgenfunction(Client().tokens)
    assert inspect.ismethod(Client().ask)


@pytest.mark.parametrize(
    ("call", "name"),
    [(lambda: ask("hi"), "ask"), (lambda: Client().ask("hi"), "Client.ask"), (lambda: judged("hi"), "judged")],
    ids=["function", "method", "function without a fast path"],
)
def test_a_coroutine_that_was_forgotten_is_called_after_the_function(call, name):
    coroutine = call()

    assert coroutine.__qualname__ == name
    coroutine.close()


async def test_it_is_copied_and_pickled_like_a_function():
    assert copy.copy(ask) is ask
    assert copy.deepcopy({"ask": ask})["ask"] is ask
    assert pickle.loads(pickle.dumps(ask)) is ask
    assert await pickle.loads(pickle.dumps(Client("pickled").ask))("hi") == "pickled: hi"
    assert await copy.deepcopy(Client("deep").ask)("hi") == "deep: hi"
    assert await copy.copy(Client("flat").ask)("hi") == "flat: hi"


# -- one wrapper


def test_a_second_policy_goes_into_the_same_wrapper(registry):
    async def raw() -> None: ...

    twice = circuit_breaker("outer", registry=registry)(circuit_breaker("inner", registry=registry)(raw))

    assert type(twice) is ResilientFunction
    assert twice.__wrapped__ is raw
    assert [layer.kind for layer in describe(twice).layers] == ["circuit_breaker"] * 2


def test_describe_and_repr_tell_settings_and_state_but_no_defaults(registry):
    @circuit_breaker("openai", failure_threshold=3, registry=registry)
    async def call(prompt: str, key: str = "sk-planted-default") -> str:
        return prompt

    assert "circuit_breaker 'openai' closed" in repr(call)
    assert "failure_threshold=3" in repr(describe(call))
    assert describe(call).layers[0].settings["failure_threshold"] == 3
    assert "planted" not in repr(call) + repr(describe(call))


def test_describe_works_on_methods_and_refuses_what_is_not_ours():
    assert describe(Client().ask).layers[0].kind == "circuit_breaker"
    with pytest.raises(TypeError, match="scale has none of our decorators"):

        def scale() -> None: ...

        describe(scale)


@pytest.mark.parametrize("above", [False, True], ids=["classmethod-below", "classmethod-above"])
async def test_an_endpoint_is_handed_in_after_the_class(registry, above):
    handed = failover(Endpoint("eu"), registry=registry)

    async def ask(cls, endpoint: Endpoint, prompt: str) -> str:
        return f"{cls.__name__} {endpoint.name} {prompt}"

    ask.__qualname__ = "Asking.ask"
    bound = classmethod(handed(ask)) if above else handed(classmethod(ask))
    asking = type("Asking", (), {"ask": bound})
    heir = type("Heir", (asking,), {})

    assert await asking.ask("hi") == "Asking eu hi"
    assert await heir().ask("hi") == "Heir eu hi"


def test_a_partial_and_a_callable_are_shown_by_the_name_of_what_they_call(registry):
    guarded = circuit_breaker(registry=registry)

    assert repr(guarded(functools.partial(Client().ask, "hi"))).startswith("<Client.ask()")
    assert repr(guarded(Client())).startswith("<Client(prompt: str) -> str")


# -- names


def test_a_function_defined_anew_with_other_settings_starts_afresh(registry):
    for threshold in (1, 2):

        @circuit_breaker(failure_threshold=threshold, registry=registry)
        async def again() -> None: ...

    (name,) = registry.circuit_breakers

    assert name.endswith("again")
    assert describe(again).layers[0].settings["failure_threshold"] == 2


def test_functions_of_one_name_in_two_modules_have_states_of_their_own(registry):
    async def twin() -> None: ...

    async def other() -> None: ...

    other.__qualname__, other.__module__ = twin.__qualname__, "elsewhere"
    for fn in (twin, other):
        circuit_breaker(registry=registry)(fn)

    assert len(registry.circuit_breakers) == 2
    assert f"elsewhere.{twin.__qualname__}" in registry.circuit_breakers
