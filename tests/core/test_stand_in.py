"""What is kept and sent of another's error holds no request, no response and no frame."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest

from resilient_ai import (
    AIServiceError,
    AllEndpointsFailedError,
    CallTimeoutError,
    CircuitOpenError,
    Endpoint,
    ErrorType,
    LimitReachedError,
    QueueFullError,
    RejectedResultError,
    StreamTruncatedError,
    circuit_breaker,
    classified_retry,
    classify,
    failover,
)
from resilient_ai._core.stand_in import StandIn, stand_in


class Request:
    """Holds what must not be kept."""

    body = "tenant A: the lighthouse"


class SdkError(ConnectionError):
    """Built like the errors of the big SDKs: it can be pickled, and not unpickled."""

    def __init__(self, message, *, request, status_code=529, body=None):
        super().__init__(message)
        self.request, self.status_code, self.body = request, status_code, body


class LockedError(Exception):
    """Cannot be pickled and not deeply copied either."""

    def __init__(self, message):
        super().__init__(message)
        self.lock = (each for each in ())


def sdk_error(message="overloaded", **more):
    return SdkError(message, request=Request(), **more)


ORIGINALS = {
    "an SDK's": sdk_error(),
    "with a lock": LockedError("overloaded"),
    "Python's own": ConnectionResetError("connection reset"),
    "of the system": OSError(104, "connection reset"),
    "a timeout": TimeoutError("timed out"),
    "a group": ExceptionGroup("several", [sdk_error(), OSError("reset")]),
}


def carriers(original):
    yield AIServiceError("ask", original, error_type=ErrorType.MODEL_OVERLOADED, attempts=2, elapsed=1.0)
    yield AllEndpointsFailedError("ask", {"us": original}, error_types={"us": ErrorType.TIMEOUT})
    for ours in (
        CircuitOpenError("us", 3.0),
        CallTimeoutError("us", timeout_seconds=3),
        QueueFullError("embed", max_queue_size=3),
        LimitReachedError("us", limit=3, waiting=1, retry_after=1.0),
        StreamTruncatedError("us", items=3),
        RejectedResultError("an answer", ErrorType.CONTENT_FILTER),
    ):
        ours.__cause__ = original
        yield ours


@pytest.mark.parametrize("original", ORIGINALS)
def test_every_error_of_ours_survives_a_pickle_with_a_stand_in_for_the_original(original):
    for error in carriers(ORIGINALS[original]):
        twin = pickle.loads(pickle.dumps(error))

        assert (type(twin), str(twin), twin.error_type) == (type(error), str(error), error.error_type)
        assert isinstance(twin.__cause__, StandIn) or type(error) is AllEndpointsFailedError
        assert all(isinstance(each, StandIn) for each in getattr(twin, "errors", {}).values())
        assert getattr(twin, "original_error", twin.__cause__) is twin.__cause__


@pytest.mark.parametrize("original", ORIGINALS)
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
def test_every_error_of_ours_survives_a_copy_with_the_kind_of_its_original(original, how):
    for error in carriers(ORIGINALS[original]):
        twin = how(error)

        assert (type(twin), str(twin)) == (type(error), str(error))
        assert type(twin.__cause__) is type(error.__cause__)
        assert getattr(twin, "original_error", twin.__cause__) is twin.__cause__


def test_a_pickled_error_holds_nothing_of_the_request():
    error = AIServiceError("ask", sdk_error(), error_type=ErrorType.TIMEOUT, attempts=1, elapsed=1.0)

    assert b"lighthouse" not in pickle.dumps(error)
    assert b"Request" not in pickle.dumps(error)


def test_errors_of_ours_within_ours_stay_what_they_are_in_a_pickle():
    inner = CircuitOpenError("us", 3.0)
    inner.__cause__ = sdk_error()
    error = AllEndpointsFailedError("ask", {"us": inner}, error_types={"us": ErrorType.CIRCUIT_OPEN})
    twin = pickle.loads(pickle.dumps(error))

    assert str(twin.errors["us"]) == str(inner)
    assert isinstance(twin.errors["us"], CircuitOpenError)
    assert isinstance(twin.errors["us"].__cause__, StandIn)


def test_a_result_that_cannot_be_pickled_goes_as_a_word_about_it():
    twin = pickle.loads(pickle.dumps(RejectedResultError((each for each in ()), ErrorType.CONTENT_FILTER)))

    assert twin.result == "<a generator, which does not pickle>"


def test_a_result_that_pickles_goes_along():
    twin = pickle.loads(pickle.dumps(RejectedResultError({"refusal": ["no"]}, ErrorType.CONTENT_FILTER)))

    assert twin.result == {"refusal": ["no"]}


def test_a_stand_in_says_what_the_error_said_and_means_what_it_meant():
    error = sdk_error("overloaded, try later", body={"error": {"code": "overloaded_error"}})
    kept = stand_in(error)

    assert (kept.class_name, kept.text, kept.status) == ("SdkError", "overloaded, try later", 529)
    assert kept.code == "overloaded_error"
    assert str(kept) == "SdkError: overloaded, try later"
    assert kept.verdict == classify(error) == classify(kept)
    assert classify(kept).error_type is ErrorType.MODEL_OVERLOADED


def test_a_stand_in_survives_a_pickle_with_its_cause():
    error = sdk_error("overloaded")
    error.__cause__ = OSError("reset")
    twin = pickle.loads(pickle.dumps(stand_in(error)))

    assert (str(twin), str(twin.__cause__), twin.status) == ("SdkError: overloaded", "OSError: reset", 529)
    assert classify(twin) == classify(error)


def test_a_stand_in_says_of_a_group_who_was_in_it():
    kept = stand_in(ORIGINALS["a group"])

    assert [str(each) for each in kept.exceptions] == ["SdkError: overloaded", "OSError: reset"]


def test_an_error_that_cannot_be_read_has_a_stand_in_all_the_same():
    class MuteError(Exception):
        def __str__(self):
            raise RuntimeError("closed")

        @property
        def status_code(self):
            raise RuntimeError("closed")

    assert str(stand_in(MuteError())) == "MuteError"


def test_a_cause_that_leads_back_to_itself_ends():
    error, other = OSError("one"), OSError("two")
    error.__cause__, other.__cause__ = other, error

    assert str(stand_in(error).__cause__.__cause__) == "OSError: one"


@pytest.mark.parametrize("kind", [ConnectionError, TimeoutError, OSError, RuntimeError, SdkError])
async def test_an_open_circuit_keeps_no_request_of_any_kind_of_failure(registry, kind):
    @circuit_breaker("c", key=lambda tenant, _request: tenant, failure_threshold=1, ignore=(), registry=registry)
    async def ask(tenant, request):
        raise kind("connection refused", request=request) if kind is SdkError else kind("connection refused")

    alive = []
    for tenant in range(5):
        request = Request()
        alive.append(weakref.ref(request))
        with pytest.raises(kind):
            await ask(tenant, request)
        del request
    gc.collect()

    assert [each() for each in alive] == [None] * 5
    with pytest.raises(CircuitOpenError) as refused:
        await ask(0, None)
    assert refused.value.__cause__.class_name == kind.__name__
    assert refused.value.__cause__.text == "connection refused"


async def test_each_refused_caller_gets_a_stand_in_of_its_own(registry):
    @circuit_breaker("c", failure_threshold=1, registry=registry)
    async def ask():
        raise ConnectionError("reset")

    with pytest.raises(ConnectionError):
        await ask()
    causes = []
    for _ in range(3):
        with pytest.raises(CircuitOpenError) as refused:
            await ask()
        causes.append(refused.value.__cause__)

    assert len(set(map(id, causes))) == 3
    assert {cause.__traceback__ for cause in causes} == {None}


async def test_the_errors_of_a_whole_stack_survive_a_pickle(registry):
    @classified_retry(max_attempts=1, registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), registry=registry)
    @circuit_breaker(failure_threshold=1, registry=registry)
    async def ask(_endpoint):
        raise sdk_error()

    for _ in range(2):
        with pytest.raises(AIServiceError) as caught:
            await ask()
        twin = pickle.loads(pickle.dumps(caught.value))

        assert str(twin) == str(caught.value)
        assert set(twin.original_error.errors) == {"us", "eu"}


def test_a_stand_in_has_the_notes_of_the_error_without_the_request():
    error = sdk_error("overloaded")
    error.add_note("asked with: my diary about the lighthouse")

    assert stand_in(error, private=("my diary about the lighthouse",)).__notes__ == ["asked with: [request]"]


async def test_an_open_circuit_quotes_nothing_of_the_request_that_opened_it(registry):
    @circuit_breaker("c", failure_threshold=1, registry=registry)
    async def ask(prompt):
        raise ConnectionError(f"could not send {prompt!r}")

    with pytest.raises(ConnectionError):
        await ask("my diary about the lighthouse")
    with pytest.raises(CircuitOpenError) as refused:
        await ask("hello")

    assert refused.value.__cause__.text == "could not send '[request]'"


def test_a_group_whose_members_lead_back_to_it_ends_soon():
    members = [OSError(str(number)) for number in range(20)]
    group = ExceptionGroup("several", members)
    for each in members:
        each.__context__ = group
    left, number = [stand_in(group)], 0
    while left:
        each = left.pop()
        number += 1
        left += [*each.exceptions, *([each.__cause__] if each.__cause__ is not None else [])]

    assert number <= 250


@pytest.mark.parametrize("notes", [None, "text", [1, "kept", None], ("a",)])
def test_notes_that_are_none_do_not_break_a_stand_in(notes):
    error = OSError("down")
    error.__notes__ = notes

    assert getattr(stand_in(error), "__notes__", []) == (["kept"] if isinstance(notes, list) else [])
