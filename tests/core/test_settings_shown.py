"""Settings that were changed are told: where each comes from, what was asked for, and that something changed."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys

import pytest

from resilient_ai import circuit_breaker, classified_retry, describe
from resilient_ai.events import SettingsChanged
from resilient_ai.types import Settings
from tests.helpers import scripted


@pytest.fixture
def ask(registry):
    return circuit_breaker("ask", failure_threshold=3, registry=registry)(scripted("answer"))


def test_describe_tells_where_each_value_comes_from(registry, ask, tmp_path):
    file = tmp_path / "resilience.toml"
    file.write_text('["a*".circuit_breaker]\nrecovery_timeout = 7\nslow_call_seconds = 2\n')
    registry.load(file)
    registry.configure({"ask": {"circuit_breaker": {"slow_call_seconds": None}}})
    layer = describe(ask).layers[0]

    assert {name: layer.origins[name] for name in layer.settings if layer.origins[name] != "default"} == {
        "failure_threshold": "decorator",
        "recovery_timeout": "resilience.toml a*",
        "slow_call_seconds": "configure ask",
    }
    text = repr(describe(ask))
    assert "failure_threshold=3, recovery_timeout=7 (resilience.toml a*)" in text
    assert "slow_call_seconds=None (configure ask)" in text


def test_settings_lists_what_was_asked_for_the_weakest_first(registry, ask, tmp_path):
    file = tmp_path / "resilience.toml"
    file.write_text("[ask.circuit_breaker]\nrecovery_timeout = 7\n")
    assert repr(registry.settings) == "nothing is set beside the decorators"
    registry.configure({"a*": {"circuit_breaker": {"minimum_calls": 2}}})
    registry.load(file)

    assert repr(registry.settings) == (
        "for  policy           setting           value  from             meant for\n"
        "ask  circuit_breaker  recovery_timeout  7      resilience.toml  ask\n"
        "a*   circuit_breaker  minimum_calls     2      configure        ask"
    )


def test_what_is_listed_can_be_sent_to_another_process(registry, ask):
    registry.configure({"a*": {"circuit_breaker": {"minimum_calls": 2}}})
    arrived = pickle.loads(pickle.dumps(registry.settings))

    assert isinstance(arrived, Settings)
    assert arrived == registry.settings
    assert ask is not None


def test_a_changed_rule_of_a_retry_is_told_by_its_parts(registry):
    ask = classified_retry("ask", registry=registry)(scripted("answer"))
    [change] = registry.configure(
        {"ask": {"classified_retry": {"rules": {"rate_limit": {"max_retries": 1}}, "budget": {"capacity": 5}}}}
    )

    assert change.before == {"rules.rate_limit.max_retries": 5, "budget.capacity": 100.0}
    assert change.after == {"rules.rate_limit.max_retries": 1, "budget.capacity": 5}
    assert "(configure ask)" in repr(describe(ask))


def test_a_change_is_logged_once_at_warning(caplog):
    from resilient_ai import Registry

    registry = Registry()
    circuit_breaker("ask", registry=registry)(scripted("answer"))
    with caplog.at_level(logging.INFO, "resilient_ai"):
        registry.configure({"ask": {"circuit_breaker": {"failure_threshold": 8}}})

    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "resilient_ai.settings_changed call_site=ask kind=circuit_breaker" in record.getMessage()


def test_a_listener_that_hears_of_a_change_sees_it_in_place_and_may_take_it_back(registry, ask):
    seen = []

    def listener(event):
        if isinstance(event, SettingsChanged) and event.after == {"failure_threshold": 8}:
            seen.append(describe(ask).layers[0].settings["failure_threshold"])
            registry.unset("ask")

    registry.subscribe(listener)
    registry.configure({"ask": {"circuit_breaker": {"failure_threshold": 8}}})

    assert seen == [8]
    assert describe(ask).layers[0].settings["failure_threshold"] == 3


# -- the environment

PROGRAM = """
from resilient_ai import circuit_breaker, describe, registry

@circuit_breaker(failure_threshold=3)
async def ask(): ...

print(describe(ask).layers[0].settings["failure_threshold"], *registry.settings[0].matches)
"""


def run(config):
    environment = {**os.environ, "RESILIENT_AI_CONFIG": str(config)}
    return subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False)


def test_the_environment_names_a_file_that_is_loaded_before_anything_is_decorated(tmp_path):
    file = tmp_path / "resilience.toml"
    file.write_text("[ask.circuit_breaker]\nfailure_threshold = 8\n[later.failover]\nstrategy = 'priority'\n")

    assert run(file).stdout == "8 ask\n"


@pytest.mark.parametrize("content", [None, "[ask.circuit_braker]\nfailure_threshold = 8\n"])
def test_a_file_in_the_environment_that_is_gone_or_bad_stops_the_program_at_its_start(tmp_path, content):
    file = tmp_path / "resilience.toml"
    if content is not None:
        file.write_text(content)
    ended = run(file)

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "resilience.toml" in ended.stderr.splitlines()[-1]
