"""Which failures degrade and which are raised."""

from __future__ import annotations

from json import JSONDecodeError

import anyio
import pytest

from resilient_ai import ErrorType, RejectedResultError, degrade_to, register_classifier
from resilient_ai._core.errors import BatchResultError
from tests.degrade_to.support import failing


@pytest.mark.parametrize(
    "error_type",
    [
        kind
        for kind in ErrorType
        if kind not in (ErrorType.INVALID_REQUEST, ErrorType.CONTEXT_LENGTH, ErrorType.CONTENT_FILTER)
    ],
)
async def test_every_kind_of_unavailability_degrades(registry, error_type):
    ask = degrade_to("sorry", registry=registry)(failing(RejectedResultError("…", error_type)))

    assert await ask() == "sorry"


@pytest.mark.parametrize("error_type", ["invalid_request", "context_length", "content_filter"])
async def test_a_request_that_is_itself_at_fault_is_not_degraded(registry, error_type):
    error = RejectedResultError("…", ErrorType(error_type))
    with pytest.raises(RejectedResultError) as caught:
        await degrade_to("sorry", registry=registry)(failing(error))()

    assert caught.value is error


@pytest.mark.parametrize(
    "error",
    [
        TypeError("t"),
        AttributeError("a"),
        KeyError("k"),
        IndexError("i"),
        NameError("n"),
        ValueError("v"),
        ZeroDivisionError("z"),
        AssertionError("s"),
        NotImplementedError("n"),
        ImportError("i"),
        RecursionError("r"),
        ExceptionGroup("tasks", [ConnectionError("down"), TypeError("t")]),
    ],
)
async def test_a_bug_is_never_hidden_behind_a_fallback(registry, error):
    with pytest.raises(type(error)) as caught:
        await degrade_to("sorry", registry=registry)(failing(error))()

    assert caught.value is error


async def test_a_bug_in_the_handling_of_a_provider_error_is_a_bug(registry):
    @degrade_to("sorry", registry=registry)
    async def ask():
        try:
            raise ConnectionError("down")
        except ConnectionError as error:
            return error.no_such_attribute

    with pytest.raises(AttributeError):
        await ask()


class OwnError(Exception):
    """Nothing recognises it."""


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("boom"),
        Exception("boom"),
        OwnError("boom"),
        JSONDecodeError("no JSON", "<html>", 0),
        BatchResultError("3 results for 4 items"),
    ],
    ids=["RuntimeError", "Exception", "own", "JSONDecodeError", "BatchResultError"],
)
async def test_what_nothing_recognises_and_an_answer_that_does_not_fit_are_degraded(registry, error):
    assert await degrade_to("sorry", registry=registry)(failing(error))() == "sorry"


async def test_a_users_classifier_decides_also_for_python_errors(registry):
    stop = register_classifier(lambda error: ErrorType.NETWORK_ERROR if isinstance(error, KeyError) else None)
    try:
        assert await degrade_to("sorry", registry=registry)(failing(KeyError("k")))() == "sorry"
    finally:
        stop()


@pytest.mark.parametrize(
    ("on", "degraded", "raised"),
    [
        (KeyError, KeyError("k"), OSError("o")),
        ((KeyError, ErrorType.TIMEOUT), TimeoutError("t"), OSError("o")),
        (ErrorType.INTERNAL_ERROR, RuntimeError("r"), TypeError("t")),
        (lambda error: "busy" in str(error), TypeError("busy"), TypeError("idle")),
        (Exception, TypeError("t"), KeyboardInterrupt()),
        ([], OwnError("never"), OSError("o")),
    ],
)
async def test_on_replaces_what_degrades(registry, on, degraded, raised):
    if on:
        assert await degrade_to("sorry", name="on", on=on, registry=registry)(failing(degraded))() == "sorry"
    with pytest.raises(type(raised)):
        await degrade_to("sorry", name="on", on=on, registry=registry)(failing(raised))()


@pytest.mark.parametrize("where", ["function", "rung"])
async def test_cancellation_passes_through(registry, where):
    async def hanging(call):
        await anyio.sleep_forever()

    @degrade_to(hanging, "sorry", name="left", rung_timeout=None, registry=registry)
    async def ask() -> str:
        if where == "function":
            await anyio.sleep_forever()
        raise OSError

    answers = []

    async def caller():
        answers.append(await ask())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert answers == []
    assert registry.degradations["left"].stats().calls == 0


async def test_a_broken_predicate_does_not_replace_the_error(registry):
    def broken(error):
        raise LookupError("mine")

    error = OSError("down")
    with pytest.raises(OSError, match="down") as caught:
        await degrade_to("sorry", on=broken, registry=registry)(failing(error))()

    assert caught.value is error
    assert error.__notes__ == ["a predicate of on= raised LookupError; the failure is not degraded"]
