"""The front door: what it shows, what it says of what is elsewhere, and what walking through it costs."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys

import pytest

import resilient_ai

FRONT_DOOR = """
adaptive_limit batched circuit_breaker classified_retry degrade_to each failover rate_limit resilient spend_limit
registry Registry describe watch deadline time_left
Endpoint ErrorType RetryRule RetryBudget CircuitState NEUTRAL UNAVAILABLE
classify classify_result Verdict register_classifier register_rules
LastAnswer NO_ANSWER FailedCall first_sentences key_sentences sentiment static_texts
ResilienceError AIServiceError AllEndpointsFailedError BatchResultError CallTimeoutError CircuitOpenError
LimitReachedError QueueFullError RejectedResultError SpendLimitReachedError StreamTruncatedError
DoubleRetryWarning EndpointMismatchWarning StackOrderWarning
""".split()  # noqa: SIM905 - in the groups of the documentation

HEAVY = [
    "openai",
    "anthropic",
    "httpx",
    "httpx2",
    "aiohttp",
    "trio",
    "numpy",
    "resilient_ai.testing",
    "resilient_ai.similar",
    "resilient_ai.usage",
    "resilient_ai._usage",
]


def test_the_front_door_shows_these_names_and_no_others():
    assert resilient_ai.__all__ == sorted(FRONT_DOOR)
    assert dir(resilient_ai) == sorted([*FRONT_DOOR, "__version__"])
    assert all(hasattr(resilient_ai, name) for name in FRONT_DOOR)  # some are imported when somebody asks


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("CircuitOpened", "events"),
        ("CircuitStats", "types"),
        ("EndpointRestingError", "types"),
        ("SimilarAnswers", "similar"),
        ("ParameterError", "providers"),
        ("OpenAIEndpoint", "providers"),
        ("VirtualClock", "testing"),
    ],
)
def test_a_name_that_is_elsewhere_is_answered_with_its_place(name, home):
    answer = rf"^module 'resilient_ai' has no attribute '{name}'; it is in resilient_ai\.{home}$"
    with pytest.raises(AttributeError, match=answer):
        getattr(resilient_ai, name)
    with pytest.raises(ImportError, match=answer):
        exec(f"from resilient_ai import {name}")

    assert not hasattr(resilient_ai, name)
    assert hasattr(importlib.import_module(f"resilient_ai.{home}"), name)


def test_a_name_that_is_nowhere_is_an_ordinary_error():
    with pytest.raises(AttributeError, match=r"^module 'resilient_ai' has no attribute 'circut_breaker'$") as raised:
        resilient_ai.circut_breaker  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'circut_breaker'"):
        exec("from resilient_ai import circut_breaker")

    assert raised.value.name == "circut_breaker"  # Python adds "Did you mean: 'circuit_breaker'?"
    assert raised.value.obj is resilient_ai


def test_public_modules_are_imported_from_the_front_door_by_name():
    code = "from resilient_ai import events, types, providers; print(events.Event.__module__, types.Seen.__module__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.split() == ["resilient_ai.events", "resilient_ai.types"]


@pytest.mark.parametrize(
    "module", ["events", "types", "providers", "similar", "testing", "web", "telemetry", "dashboard"]
)
def test_a_public_module_shows_what_it_lists_and_nothing_else(module):
    home = importlib.import_module(f"resilient_ai.{module}")
    shown = [name for name in dir(home) if not name.startswith("_")]

    assert shown == sorted(home.__all__)
    assert not {*home.__all__} & {*FRONT_DOOR}


@pytest.mark.parametrize("name", FRONT_DOOR)
def test_every_public_thing_has_a_docstring_of_its_own(name):
    thing = getattr(resilient_ai, name)
    if callable(thing):
        assert thing.__doc__


def test_the_version_is_that_of_the_package():
    assert resilient_ai.__version__ == importlib.metadata.version("resilient-ai")


def test_importing_the_package_imports_no_sdk_no_http_client_and_no_trio():
    code = f"import sys, resilient_ai; print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"
