"""Every exception prints as one sentence and survives pickling and copying."""

import copy
import pickle

import pytest

from resilient_ai import (
    AIServiceError,
    AllEndpointsFailedError,
    CallTimeoutError,
    CircuitOpenError,
    ErrorType,
    QueueFullError,
    RejectedResultError,
)

CASES = {
    "circuit 'openai' is open; next probe allowed in 12.4 s": CircuitOpenError("openai", retry_after=12.4),
    "circuit 'openai' is half-open and all its probes are in flight": CircuitOpenError(
        "openai", reason="half_open_full"
    ),
    "circuit 'openai' is forced open by an operator; call .reset() on it to let calls through": CircuitOpenError(
        "openai", reason="forced_open"
    ),
    "ask returned a str that its reject= calls content_filter": RejectedResultError(
        "the secret answer", ErrorType.CONTENT_FILTER, function="ask"
    ),
    "ask failed with rate_limit (OSError) after 3 attempts in 1.5 s": AIServiceError(
        "ask", OSError("prompt"), error_type=ErrorType.RATE_LIMIT, attempts=3, elapsed=1.5
    ),
    "all 2 endpoints failed for ask: us: timeout (TimeoutError), eu: network_error (OSError)": AllEndpointsFailedError(
        "ask",
        {"us": TimeoutError(), "eu": OSError()},
        error_types={"us": ErrorType.TIMEOUT, "eu": ErrorType.NETWORK_ERROR},
    ),
    "the queue of batch 'embed' is full with 10 items; slow the callers down or raise max_queue_size": QueueFullError(
        "embed", max_queue_size=10
    ),
    "a call through 'openai' took longer than timeout_seconds=30": CallTimeoutError("openai", timeout_seconds=30.0),
}


@pytest.mark.parametrize("sentence", CASES)
def test_an_error_is_one_sentence_with_names_and_numbers(sentence):
    assert str(CASES[sentence]) == sentence


@pytest.mark.parametrize("sentence", CASES)
@pytest.mark.parametrize(
    "twin_of", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"]
)
def test_an_error_survives_copying_with_all_it_carries(sentence, twin_of):
    error = CASES[sentence]
    error.__cause__ = error.__cause__ or OSError("down")

    twin = twin_of(error)

    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert twin.__dict__.keys() == error.__dict__.keys()
    assert twin.timestamp == error.timestamp
    assert type(error.__cause__).__name__ in (type(twin.__cause__).__name__, getattr(twin.__cause__, "class_name", ""))


def test_no_error_prints_the_answer_or_the_message_of_its_cause():
    printed = "".join(f"{error} {error!r}" for error in CASES.values())

    assert "secret" not in printed
    assert "prompt" not in printed


class RegionShutError(CircuitOpenError):
    __slots__ = ("note", "region")

    def __init__(self, region):
        super().__init__("openai", 2.0)
        self.region = region


@pytest.mark.parametrize(
    "twin_of", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"]
)
def test_an_error_of_ones_own_with_slots_survives_with_all_its_facts(twin_of):
    twin = twin_of(RegionShutError("eu"))

    assert (twin.name, twin.retry_after, twin.reason, twin.region) == ("openai", 2.0, "open", "eu")
    assert "2.0 s" in str(twin)
