"""The log: the standard library's, never on standard output, few lines in an outage, at no cost where unseen."""

from __future__ import annotations

import dataclasses
import io
import logging
import random
import subprocess
import sys

import pytest
import structlog

import resilient_ai.events
from resilient_ai import Endpoint, Registry, ResilienceError, circuit_breaker, classified_retry, degrade_to, failover
from resilient_ai._core.log import EventLog
from resilient_ai.events import CallRejected, CircuitOpened, Event, QuotaExceeded
from tests.helpers import ProviderError, scripted

EVENTS = [each for each in vars(resilient_ai.events).values() if isinstance(each, type) and issubclass(each, Event)]


@pytest.fixture(autouse=True)
def structlog_as_it_comes():
    """An application has not set it up, whatever other tests did."""
    structlog.reset_defaults()


@pytest.fixture
def logged(clock):
    """A registry with its default listener."""
    return Registry(clock=clock, rng=random.Random(1))


@pytest.fixture
def through_structlog():
    """What an application that renders through the standard library writes."""
    written = io.StringIO()
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(written)
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)
    structlog.reset_defaults()


def opened(registry, name="x"):
    registry.emit(CircuitOpened(name, 1, "failure count reached 1", 60.0))


def test_an_event_is_a_line_of_the_standard_librarys_logger(logged, caplog):
    opened(logged)

    record = caplog.records[-1]
    assert (record.name, record.levelname) == ("resilient_ai", "WARNING")
    assert record.getMessage() == (
        'event=resilient_ai.circuit_opened call_site=x failures=1 reason="failure count reached 1" retry_after=60.0'
    )


def test_the_level_of_the_logger_decides_what_is_written(logged, caplog):
    with caplog.at_level(logging.ERROR, "resilient_ai"):
        opened(logged)
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, "resilient_ai"):
        logged.emit(CallRejected("x", "open", 1.0))
    assert caplog.records[-1].levelname == "DEBUG"


def test_where_an_application_has_configured_structlog_that_gets_the_event(logged, through_structlog):
    opened(logged, "summarize")

    assert through_structlog.getvalue() == "resilient_ai.circuit_opened\n"


def test_structlogs_own_capture_sees_the_fields(logged):
    structlog.configure()
    try:
        with structlog.testing.capture_logs() as lines:
            opened(logged)
    finally:
        structlog.reset_defaults()

    assert lines == [
        {
            "event": "resilient_ai.circuit_opened",
            "log_level": "warning",
            "call_site": "x",
            "failures": 1,
            "reason": "failure count reached 1",
            "retry_after": 60.0,
        }
    ]


@pytest.mark.parametrize("kind", EVENTS, ids=[kind.__name__ for kind in EVENTS])
def test_no_field_of_an_event_is_one_of_a_logging_record(kind):
    taken = {*vars(logging.makeLogRecord({})), "message", "asctime", "event", "level", "logger", "timestamp"}

    assert not taken & ({each.name for each in dataclasses.fields(kind)} - {"name"})
    assert "call_site" not in {each.name for each in dataclasses.fields(kind)}


def test_a_name_with_line_ends_makes_no_line_of_its_own(logged, caplog):
    opened(logged, "evil\n2026 CRITICAL fake\x1b[2J")

    assert len(caplog.records[-1].getMessage().splitlines()) == 1
    assert "\x1b" not in caplog.records[-1].getMessage()


def test_nothing_is_written_to_standard_output_and_an_outage_of_a_thousand_calls_is_a_few_lines():
    code = (
        "import asyncio\n"
        "from resilient_ai import *\n"
        "@degrade_to('later')\n"
        "@classified_retry(rules={ErrorType.NETWORK_ERROR: RetryRule(1, 0.0, 0.0)})\n"
        "@failover(Endpoint('us'), Endpoint('eu'))\n"
        "@circuit_breaker\n"
        "async def ask(endpoint): raise ConnectionError('refused')\n"
        "async def main():\n"
        "    for _ in range(1000): await ask()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == ""
    assert 1 <= len(done.stderr.splitlines()) <= 30


def test_a_flood_of_one_kind_is_a_line_a_second_that_counts_the_others(clock, caplog):
    log = EventLog(clock.now)
    for _ in range(2):
        for _ in range(50):
            log(CircuitOpened("x", 1, "why", 1.0))
        clock.advance(1)
    log(CircuitOpened("x", 1, "why", 1.0))
    log(CircuitOpened("y", 1, "why", 1.0))

    said = [record.getMessage().partition("why ")[2] for record in caplog.records]
    assert said == ["retry_after=1.0", "retry_after=1.0 left_out=49", "retry_after=1.0 left_out=49", "retry_after=1.0"]


def test_a_used_up_quota_is_critical_once_until_it_is_over(clock, caplog):
    log = EventLog(clock.now)
    event = QuotaExceeded("ask", "ask", 1, "quota_exceeded", "pay", "00000000")
    for _ in range(100):
        log(event)
        clock.advance(10)
    clock.advance(60)
    log(event)

    assert [record.levelname for record in caplog.records] == ["CRITICAL"] * 2


async def test_single_failures_and_fallbacks_are_no_warnings(logged, clock, caplog, provider_errors):
    @degrade_to("later", registry=logged)
    @classified_retry(registry=logged)
    @failover(Endpoint("us"), Endpoint("eu"), registry=logged)
    async def ask(_endpoint):
        raise ProviderError("model_overloaded")

    async with clock.autojump():
        assert await ask() == "later"

    assert {record.getMessage().split()[0] for record in caplog.records if record.levelno >= logging.WARNING} == {
        "event=resilient_ai.endpoint_down"
    }


async def test_a_listener_hears_only_what_is_severe_enough_for_it(registry):
    every, warnings = [], []
    registry.subscribe(every.append)
    registry.subscribe(warnings.append, level="warning")

    @circuit_breaker("c", failure_threshold=1, registry=registry)
    async def ask():
        raise ConnectionError("refused")

    for error in (ConnectionError, ResilienceError):
        with pytest.raises(error):
            await ask()

    assert [type(each) for each in every] == [CircuitOpened, CallRejected]
    assert [type(each) for each in warnings] == [CircuitOpened]


def test_no_event_is_made_that_nobody_would_hear(logged, registry, caplog):
    with caplog.at_level(logging.WARNING, "resilient_ai"):
        assert not logged.hears(CallRejected)
        assert logged.hears(CircuitOpened)
    with caplog.at_level(logging.DEBUG, "resilient_ai"):
        assert logged.hears(CallRejected)
    assert not registry.hears(CircuitOpened)
    stop = registry.subscribe(print, level="warning")
    assert registry.hears(CircuitOpened)
    assert not registry.hears(CallRejected)
    stop()
    assert not registry.hears(CircuitOpened)


def test_the_listeners_of_a_registry_can_be_replaced(logged, caplog):
    heard = []
    logged.listeners = (heard.append,)
    opened(logged)

    assert len(heard) == 1
    assert caplog.records == []
    assert logged.listeners == (heard.append,)


def test_a_level_that_does_not_exist_is_told(registry):
    with pytest.raises(ValueError, match="level must be one of debug, info, warning, error, critical, got 'loud'"):
        registry.subscribe(print, level="loud")


@pytest.mark.parametrize("wrong", ["a text", None, 3, scripted(None)], ids=["text", "None", "number", "async function"])
def test_what_cannot_be_told_of_events_is_an_error_where_it_is_given(wrong):
    registry = Registry(listeners=())
    circuit_breaker("openai", registry=registry)(scripted("pong"))
    for give in (
        registry.subscribe,
        registry.circuit_breakers["openai"].on_transition,
        lambda listener: Registry(listeners=(listener,)),
        lambda listener: setattr(registry, "listeners", (listener,)),
    ):
        with pytest.raises(ValueError, match="a listener must be a plain function of the event, got "):
            give(wrong)

    assert registry.listeners == ()
