"""What stays true of a plain function, a method and a callable once they are decorated."""

from __future__ import annotations

import asyncio  # noqa: TID251 - the running loop must not be touched
import contextlib
import functools
import gc
import inspect
import pickle
import traceback
from unittest import mock

import cloudpickle
import pytest

from resilient_ai import AIServiceError, Registry, batched, circuit_breaker, classified_retry, describe
from resilient_ai.jobs import run_all
from resilient_ai.testing import isolated_registry

guard = circuit_breaker("plain")


@classified_retry("plain")
@guard
def ask_plainly(prompt: str, *, key: str = "sk-planted-default") -> str:
    """Ask it."""
    return prompt


class Desk:
    """Every kind of method."""

    def __init__(self, name: str = "desk") -> None:
        self.name = name

    @classified_retry("plain")
    @guard
    def ask(self, prompt: str) -> str:
        return f"{self.name}: {prompt}"

    @classmethod
    @guard
    def inner_class(cls, prompt: str) -> str:
        return f"{cls.__name__}: {prompt}"

    @guard
    @classmethod
    def outer_class(cls, prompt: str) -> str:
        return f"{cls.__name__}: {prompt}"

    @staticmethod
    @guard
    def inner_static(prompt: str) -> str:
        return prompt

    @guard
    @staticmethod
    def outer_static(prompt: str) -> str:
        return prompt

    def __call__(self, prompt: str) -> str:
        return f"called {prompt}"


def test_methods_of_every_kind_get_their_instance_or_class():
    desk, keyed = Desk(), circuit_breaker("keyed", key=lambda *_: "one")(Desk.inner_static)

    assert [desk.ask("hi"), Desk.ask(desk, "hi")] == ["desk: hi"] * 2
    assert keyed("hi") == "hi"
    assert [each.inner_class("hi") for each in (desk, Desk)] == ["Desk: hi"] * 2
    assert [each.outer_class("hi") for each in (desk, Desk)] == ["Desk: hi"] * 2
    assert [each.inner_static("hi") for each in (desk, Desk)] == ["hi"] * 2
    assert [each.outer_static("hi") for each in (desk, Desk)] == ["hi"] * 2


def test_partials_callables_bound_methods_builtins_and_other_peoples_decorators_work():
    def raw(prompt: str, suffix: str) -> str:
        return prompt + suffix

    assert guard(functools.partial(raw, suffix="!"))("hi") == "hi!"
    assert guard(Desk())("hi") == "called hi"
    assert guard(Desk().ask)("hi") == "desk: hi"
    assert guard(functools.lru_cache(raw))("hi", "?") == "hi?"
    assert guard(sum)([1, 2]) == 3


def test_name_doc_module_signature_and_kind_stay_true():
    assert (ask_plainly.__name__, ask_plainly.__qualname__, ask_plainly.__doc__, ask_plainly.__module__) == (
        "ask_plainly",
        "ask_plainly",
        "Ask it.",
        __name__,
    )
    assert str(inspect.signature(ask_plainly)) == "(prompt: 'str', *, key: 'str' = 'sk-planted-default') -> 'str'"
    assert inspect.isfunction(ask_plainly)
    assert not inspect.iscoroutinefunction(ask_plainly)
    assert inspect.ismethod(Desk().ask)
    assert [layer.kind for layer in describe(ask_plainly).layers] == ["classified_retry", "circuit_breaker"]
    assert "timeout_seconds" not in repr(describe(ask_plainly))


def test_it_travels_by_name_and_by_cloudpickle_with_its_policies():
    def local(prompt: str) -> str:
        return prompt.upper()

    assert pickle.loads(pickle.dumps(ask_plainly)) is ask_plainly
    arrived = pickle.loads(cloudpickle.dumps(guard(local)))
    assert arrived("hi") == "HI"
    assert [layer.kind for layer in describe(arrived).layers] == ["circuit_breaker"]


def test_no_event_loop_is_made_and_a_running_one_is_not_used(monkeypatch):
    monkeypatch.setattr(asyncio, "new_event_loop", mock.Mock(side_effect=AssertionError))

    assert ask_plainly("hi") == "hi"


async def test_within_a_task_it_gives_its_answer_and_no_coroutine():
    assert ask_plainly("hi") == "hi"
    assert Desk().ask("hi") == "desk: hi"


def test_the_traceback_leads_to_the_line_that_failed():
    @circuit_breaker("traced")
    def broken():
        raise OSError("here")

    with pytest.raises(OSError, match="here") as caught:
        broken()

    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[-1].line == 'raise OSError("here")'
    assert len(frames) <= 10


def test_a_failure_leaves_no_cyclic_garbage(clock):
    registry = Registry(clock=clock, listeners=())

    @classified_retry("tidy", max_attempts=2, registry=registry)
    @circuit_breaker("tidy", failure_threshold=100, registry=registry)
    def broken():
        raise ConnectionError

    with pytest.raises(AIServiceError):
        broken()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with contextlib.suppress(AIServiceError):
                broken()
        collected = gc.collect()
    finally:
        gc.enable()

    assert collected == 0


# -- what is no plain function after all


@pytest.fixture
def wrong_calls():
    with isolated_registry() as registry:
        yield registry


def test_a_function_that_gives_a_coroutine_says_so_at_its_first_call_and_nothing_is_counted(wrong_calls):
    async def create():
        """As an async SDK client's method."""

    calls = []

    @classified_retry("wrong")
    @circuit_breaker("wrong")
    def forgot_async():
        calls.append(1)
        return create()

    with pytest.raises(TypeError, match=r"forgot_async is a plain function and gave a coroutine.*`async def") as caught:
        forgot_async()

    assert len(calls) == 1
    assert type(caught.value) is TypeError
    assert wrong_calls.circuit_breakers["wrong"].stats().total_failures == 0
    assert wrong_calls.retries["wrong"].stats().retries == 0


def test_a_function_that_gives_an_async_iterator_says_what_to_write(wrong_calls):
    async def pieces():
        yield "piece"

    with pytest.raises(TypeError, match="gave an async_generator, which is read with `async for`; make it `async def"):
        circuit_breaker("wrong")(lambda: pieces())()


def test_a_function_that_gives_a_context_manager_says_what_to_write(wrong_calls):
    class MessageStreamManager:
        def __enter__(self): ...
        def __exit__(self, *_): ...

    with pytest.raises(TypeError, match=r"gave a .*MessageStreamManager.*`with ... as stream:`.*`yield from stream`"):
        circuit_breaker("wrong")(lambda: MessageStreamManager())()
    with pytest.raises(TypeError, match="returns a context manager"):
        circuit_breaker("wrong")(contextlib.contextmanager(lambda: iter("x")))


def test_a_mock_is_an_answer_like_any_other(wrong_calls):
    answer = mock.MagicMock()

    assert circuit_breaker("mocked")(mock.Mock(return_value=answer, spec=[]))() is answer


def test_arguments_that_do_not_fit_are_nobodys_failure(wrong_calls):
    @classified_retry("wrong")
    @circuit_breaker("wrong")
    def fits(prompt): ...

    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        fits()

    assert wrong_calls.circuit_breakers["wrong"].stats().total_failures == 0


def test_stop_iteration_of_the_function_is_an_error_and_no_end(wrong_calls):
    @circuit_breaker("wrong")
    def first_of_none():
        return next(iter(()))

    with pytest.raises(RuntimeError, match="first_of_none raised StopIteration"):
        first_of_none()


def test_what_cannot_wait_for_a_plain_function_is_refused_at_decoration():
    def embed(texts): ...

    with pytest.raises(TypeError, match=r"needs an async function, got the plain function .*embed"):
        batched("x")(embed)


def test_a_long_job_says_that_it_awaits_its_function():
    with pytest.raises(TypeError, match=r"run_all awaits each answer, and ask_plainly is a plain function"):
        run_all(ask_plainly, ["a"])
