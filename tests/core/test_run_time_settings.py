"""Settings are changed while a program runs: which value holds where, what is refused, and what it touches."""

from __future__ import annotations

import copy
import pickle

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

import resilient_ai
from resilient_ai import (
    AIServiceError,
    CircuitOpenError,
    Endpoint,
    Registry,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    describe,
    failover,
)
from resilient_ai.events import SettingsChanged
from resilient_ai.testing import isolated_registry
from tests.helpers import interleaved, scripted


def breaker(registry, name="ask", **settings):
    return circuit_breaker(name, registry=registry, **settings)(scripted("answer"))


def setting(fn, name, kind="circuit_breaker"):
    return next(layer.settings[name] for layer in describe(fn).layers if layer.kind == kind)


def origin(fn, name):
    return describe(fn).layers[-1].origins[name]


# -- which value holds


def test_a_change_holds_from_now_on_and_unset_takes_it_back(registry):
    ask = breaker(registry, failure_threshold=3)

    registry.configure({"ask": {"circuit_breaker": {"failure_threshold": 8}}})
    assert setting(ask, "failure_threshold") == 8

    registry.unset("ask")
    assert setting(ask, "failure_threshold") == 3


def test_what_is_returned_is_what_changed_and_each_is_an_event_at_warning(registry, events):
    breaker(registry, "a")
    breaker(registry, "b", failure_threshold=8)
    changes = registry.configure({"*": {"circuit_breaker": {"failure_threshold": 8, "minimum_calls": 20}}})

    assert changes == [SettingsChanged("a", "circuit_breaker", {"failure_threshold": 5}, {"failure_threshold": 8})]
    assert events == changes
    assert changes[0].level == "warning"


def test_a_change_adds_to_earlier_ones(registry):
    ask = breaker(registry)
    registry.configure({"ask": {"circuit_breaker": {"failure_threshold": 8}}})
    registry.configure({"ask": {"circuit_breaker": {"recovery_timeout": 5}}})

    assert setting(ask, "failure_threshold"), setting(ask, "recovery_timeout") == (8, 5)


def test_an_exact_name_beats_a_pattern_and_the_later_pattern_the_earlier(registry):
    ask = breaker(registry)

    def threshold(pattern, value):
        registry.configure({pattern: {"circuit_breaker": {"failure_threshold": value}}})
        return setting(ask, "failure_threshold")

    assert threshold("a*", 11) == 11
    assert threshold("?sk", 12) == 12
    assert threshold("a*", 13) == 13  # set again, it is the later one
    assert threshold("ask", 14) == 14
    assert threshold("a*", 15) == 14


def test_the_program_beats_a_file_and_a_file_the_decorator(registry, tmp_path):
    ask = breaker(registry, failure_threshold=3)
    file = tmp_path / "resilience.toml"
    file.write_text("[ask.circuit_breaker]\nfailure_threshold = 4\nrecovery_timeout = 7\n")
    registry.configure({"a*": {"circuit_breaker": {"failure_threshold": 5}}})
    registry.load(file)

    assert (setting(ask, "failure_threshold"), setting(ask, "recovery_timeout")) == (5, 7)

    registry.unset()
    assert (setting(ask, "failure_threshold"), setting(ask, "recovery_timeout")) == (4, 7)

    file.write_text("[ask.circuit_breaker]\nfailure_threshold = 6\n")
    registry.load()
    assert (setting(ask, "failure_threshold"), setting(ask, "recovery_timeout")) == (6, 60)


def test_false_in_a_file_stands_for_none_except_where_a_setting_is_true_or_false(registry, tmp_path):
    limit = adaptive_limit("ask", registry=registry)(scripted("answer"))
    ask = breaker(registry)
    file = tmp_path / "resilience.toml"
    file.write_text("[ask.circuit_breaker]\ntimeout_seconds = false\n[ask.adaptive_limit]\npace = false\n")
    registry.load(file)

    assert setting(ask, "timeout_seconds") is None
    assert setting(limit, "pace", "adaptive_limit") is False


def toml(settings):
    """`{call site: {policy: {setting: number}}}` as a file has it."""
    return "\n".join(
        f'["{site}".{kind}]\n' + "".join(f"{name} = {value}\n" for name, value in values.items())
        for site, kinds in settings.items()
        for kind, values in kinds.items()
    )


PATTERNS = ["ask", "a*", "*", "?sk", "other"]


@given(
    changes=st.lists(st.tuples(st.sampled_from(PATTERNS), st.integers(1, 99))),
    in_file=st.dictionaries(st.sampled_from(PATTERNS), st.integers(1, 99), max_size=3),
)
def test_whatever_was_set_the_strongest_value_holds(changes, in_file, tmp_path_factory):
    registry = Registry(listeners=())
    ask = breaker(registry, failure_threshold=3)
    file = tmp_path_factory.mktemp("settings") / "resilience.toml"
    file.write_text(toml({site: {"circuit_breaker": {"failure_threshold": value}} for site, value in in_file.items()}))
    registry.load(file)
    for pattern, value in changes:
        registry.configure({pattern: {"circuit_breaker": {"failure_threshold": value}}})

    def strongest(values):
        exact = [value for pattern, value in values if pattern == "ask"]
        return (exact or [value for pattern, value in values if pattern != "other"] or [None])[-1]

    assert setting(ask, "failure_threshold") == (strongest(changes) or strongest(in_file.items()) or 3)


# -- what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"ask": {"circuit_braker": {}}},
            "did you mean 'circuit_breaker'? there are: adaptive_limit, batched",
        ),
        ({"ask": {"endpoint": {}}}, "no policy 'endpoint'; there are: adaptive_limit"),
        ({"ask": {"circuit_breaker": {"treshold": 1}}}, "circuit_breaker has no setting 'treshold'"),
        ({"ask": {"circuit_breaker": {"failure_treshold": 1}}}, "did you mean 'failure_threshold'? there are: failure"),
        ({"ask": {"circuit_breaker": {"failure_threshold": 0}}}, "must be an integer of at least 1 or None, got 0"),
        ({"new": {"circuit_breaker": {"failure_threshold": "8"}}}, "must be an integer of at least 1 or None, got '8'"),
        ({"ask": {"circuit_breaker": {"max_recovery_timeout": 5}}}, "must be a number of at least 7 or None, got 5"),
        ({"ask": {"circuit_breaker": {"failure_threshold": None}}}, "needs a rule to open by"),
        (
            {"ask": {"circuit_breaker": {"ignore": ["timeout"]}}},
            "of circuit_breaker is set by the decorator alone",
        ),
        ({"ask": {"failover": {"strategy": min}}}, "functions are for the decorator"),
        ({"ask[us]": {"circuit_breaker": {"failure_threshold": 1}}}, "by call site, not by endpoint or key"),
        ({"ask": {"circuit_breaker": 8}}, "circuit_breaker of 'ask' is {setting: value}, got 8"),
        ({"ask": 8}, "the settings of 'ask' are {policy: {setting: value}}, got 8"),
        ([], "settings are {call site: {policy: {setting: value}}}, got []"),
        ({"ask": {"classified_retry": {"rules": {"rate_limt": None}}}}, "did you mean 'rate_limit'? there are: rate"),
        ({"ask": {"classified_retry": {"rules": {"timeout": {"retries": 1}}}}}, "did you mean 'max_retries'?"),
        (
            {"ask": {"classified_retry": {"rules": {"timeout": {"base_delay": -1}}}}},
            "rules.timeout.base_delay must",
        ),
        ({"ask": {"classified_retry": {"rules": {"not_found": {"max_retries": 1}}}}}, "needs base_delay, max_delay as"),
        ({"ask": {"classified_retry": {"budget": {"size": 1}}}}, "budget has no setting 'size'"),
        ({"ask": {"classified_retry": {"rules": {}}}}, "rules of classified_retry is an empty table"),
        ({"ask": {"batched": {"max_weight": 8}}}, "max_weight needs the decorator's weight="),
    ],
)
def test_what_does_not_exist_or_fit_is_an_error_that_says_what_does_and_changes_nothing(registry, settings, message):
    ask = batched("ask", registry=registry)(
        classified_retry("ask", registry=registry)(circuit_breaker("ask", registry=registry)(scripted("answer")))
    )
    before = describe(ask)
    good = {"as*": {"circuit_breaker": {"recovery_timeout": 7}, "classified_retry": {"max_attempts": 2}}}
    with pytest.raises(ValueError) as caught:
        registry.configure({**good, **settings} if isinstance(settings, dict) else settings)

    assert message in str(caught.value)
    assert describe(ask) == before
    assert not registry.settings


def test_a_call_site_that_does_not_exist_is_shown_to_match_nothing_and_refused_where_that_is_asked_for(registry):
    breaker(registry)
    registry.configure({"aks": {"circuit_breaker": {"failure_threshold": 8}}})

    assert "matches nothing" in repr(registry.settings)
    with pytest.raises(ValueError, match=r"circuit_breaker 'aks' matches nothing \(strict=True\)"):
        registry.configure({"aks": {"circuit_breaker": {"failure_threshold": 9}}}, strict=True)
    assert [each.value for each in registry.settings] == [8]


def test_unset_of_what_was_never_set_is_an_error_that_says_what_was(registry):
    registry.configure({"summar*": {"circuit_breaker": {"failure_threshold": 8}}})
    with pytest.raises(ValueError, match=r"'summar'; did you mean 'summar\*'\? there are: summar\*"):
        registry.unset("summar")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[ask", "resilience.toml: "),
        (b"\xff", "resilience.toml: "),
        (b"[ask.circuit_breaker]\nfailure_threshold = 'x'", r"got 'x' \(set by resilience.toml \[ask\]\)"),
        (b"[Client.ask.circuit_breaker]\nfailure_threshold = 1", r'write \["Client.ask".circuit_breaker\]'),
        (b"[ask.circuit_breaker]\nfailure_threshold = 4\n[ask.circuit_braker]", "did you mean 'circuit_breaker'"),
    ],
)
def test_a_bad_file_changes_nothing(registry, tmp_path, events, content, message):
    ask = breaker(registry)
    file = tmp_path / "resilience.toml"
    file.write_text("[ask.circuit_breaker]\nfailure_threshold = 8\n")
    registry.load(file)
    events.clear()
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        registry.load()

    assert setting(ask, "failure_threshold") == 8
    assert events == []


def test_a_file_that_is_gone_changes_nothing_and_without_any_there_is_nothing_to_load_again(registry, tmp_path):
    with pytest.raises(FileNotFoundError):
        registry.load(tmp_path / "gone.toml")
    with pytest.raises(ValueError, match="RESILIENT_AI_CONFIG"):
        registry.load()


# -- what it touches


def test_functions_that_are_decorated_later_are_met_as_well(registry):
    registry.configure({"as*": {"circuit_breaker": {"failure_threshold": 1}}})
    ask = breaker(registry, failure_threshold=3)

    assert setting(ask, "failure_threshold") == 1
    assert registry.settings[0].matches == ("ask",)


def test_a_later_decorator_whose_settings_do_not_fit_is_an_error_and_leaves_no_state(registry):
    registry.configure({"ask": {"circuit_breaker": {"max_recovery_timeout": 5}}})
    with pytest.raises(ValueError, match=r"max_recovery_timeout must be .* got 5 \(set by configure \[ask\]\)"):
        breaker(registry, recovery_timeout=30)

    assert not registry.circuit_breakers


async def test_a_name_is_found_in_full_as_the_table_shows_it_and_by_its_last_part(registry):
    class Client:
        @circuit_breaker(registry=registry)
        async def ask(self):
            return "answer"

    full = describe(Client.ask).layers[0].status.split("'")[1]
    for name in (full, full.replace(".<locals>", ""), "ask", "*Client.ask"):
        changes = registry.configure({name: {"circuit_breaker": {"failure_threshold": 8}}})
        registry.unset(name)

        assert [each.name for each in changes] == [full]


async def test_methods_and_bound_methods_that_somebody_keeps_follow(registry):
    class Client:
        @circuit_breaker("ask", failure_threshold=3, registry=registry)
        async def ask(self):
            raise ConnectionError

        @classmethod
        @circuit_breaker("of_class", failure_threshold=3, registry=registry)
        async def of_class(cls):
            raise ConnectionError

    kept = Client().ask, Client.of_class
    registry.configure({"*": {"circuit_breaker": {"failure_threshold": 1}}})
    for ask in kept:
        with pytest.raises(ConnectionError):
            await ask()
        with pytest.raises(CircuitOpenError):
            await ask()


async def test_call_sites_that_share_a_name_share_its_settings(registry):
    one, two = breaker(registry, "shared"), breaker(registry, "shared")
    changes = registry.configure({"shared": {"circuit_breaker": {"failure_threshold": 9}}})

    assert len(changes) == 1
    assert (setting(one, "failure_threshold"), setting(two, "failure_threshold")) == (9, 9)
    breaker(registry, "shared")  # the same settings in its decorator, which is what has to agree
    with pytest.raises(ValueError, match="failure_threshold 5 there, 9 here"):
        breaker(registry, "shared", failure_threshold=9)


async def test_every_key_follows_those_that_come_later_too(registry):
    ask = circuit_breaker("ask", key=lambda tenant: tenant, registry=registry)(scripted(ConnectionError()))

    async def fails(tenant):
        with pytest.raises(ConnectionError):
            await ask(tenant)

    await fails("early")
    registry.configure({"ask": {"circuit_breaker": {"failure_threshold": 2}}})
    await fails("early")
    await fails("late")
    await fails("late")

    assert [circuit.state for circuit in registry.circuit_breakers.values()] == ["open", "open"]


async def test_one_circuit_per_endpoint_follows_in_each(registry):
    ask = failover(Endpoint("us"), Endpoint("eu"), name="ask", registry=registry)(
        circuit_breaker("ask", registry=registry)(scripted(ConnectionError()))
    )
    registry.configure({"ask": {"circuit_breaker": {"failure_threshold": 1}}})
    with pytest.raises(resilient_ai.AllEndpointsFailedError):
        await ask()

    assert [circuit.state for circuit in registry.circuit_breakers.values()] == ["open", "open"]


async def test_a_change_while_the_registry_is_off_or_in_a_test_holds_afterwards(registry):
    ask = circuit_breaker("ask", registry=registry)(scripted(ConnectionError()))
    with registry.disabled():
        registry.configure({"ask": {"circuit_breaker": {"failure_threshold": 2}}})
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await ask()
    with registry.testing():
        registry.configure({"ask": {"circuit_breaker": {"failure_threshold": 1}}})
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await ask()

    assert registry.circuit_breakers["ask"].stats().total_calls == 0
    with pytest.raises(ConnectionError):
        await ask()
    with pytest.raises(CircuitOpenError):
        await ask()


async def test_in_testing_a_retry_follows_its_changed_rules_and_still_does_not_wait(registry, clock):
    ask = classified_retry("ask", registry=registry)(scripted(ConnectionError()))
    registry.configure(
        {"ask": {"classified_retry": {"max_attempts": 2, "rules": {"network_error": {"base_delay": 9}}}}}
    )
    with registry.testing(attempts=5), pytest.raises(AIServiceError) as caught:
        await ask()

    assert caught.value.attempts == 2
    assert clock.now() == 0


def test_a_change_while_another_thread_makes_the_first_call_after_an_earlier_one_is_not_lost(registry):
    """A call that is still building what the earlier change asked for must not put that in place of the later one."""
    ask, wrong = breaker(registry, timeout_seconds=None), []

    def change():
        for value in range(10, 40):
            registry.configure({"ask": {"circuit_breaker": {"failure_threshold": value}}})
            wrong.extend({setting(ask, "failure_threshold")} - {value})

    def call():
        for _ in range(40):
            with pytest.raises(StopIteration):
                ask().send(None)

    interleaved(change, call, trace=("_core/wrapper.py", "_core/modes.py", "_core/stack.py"))

    assert wrong == []


@circuit_breaker("at_import", failure_threshold=3)
async def at_import():
    return "answer"


def test_a_plain_function_follows_but_for_the_timeouts_that_it_cannot_have(registry):
    @circuit_breaker("ask", registry=registry)
    def ask():
        raise ConnectionError

    registry.configure({"ask": {"circuit_breaker": {"failure_threshold": 1, "timeout_seconds": 5}}})
    with pytest.raises(ConnectionError):
        ask()
    with pytest.raises(CircuitOpenError):
        ask()

    assert "timeout_seconds" not in [name for name, value in describe(ask).layers[0].settings.items() if value]


def test_an_isolated_registry_has_settings_of_its_own_and_what_is_outside_stays():
    changed = {"at_import": {"circuit_breaker": {"failure_threshold": 8}}}
    resilient_ai.registry.listeners, listeners = (), resilient_ai.registry.listeners
    try:
        resilient_ai.registry.configure(changed)
        with isolated_registry() as fresh:
            assert setting(at_import, "failure_threshold") == 3  # a test starts from what is written
            fresh.configure({"at_import": {"circuit_breaker": {"failure_threshold": 9}}})
            assert setting(at_import, "failure_threshold") == 9
            resilient_ai.registry.configure({"at_import": {"circuit_breaker": {"recovery_timeout": 7}}})

        assert (setting(at_import, "failure_threshold"), setting(at_import, "recovery_timeout")) == (8, 7)
    finally:
        resilient_ai.registry.unset()
        resilient_ai.registry.listeners = listeners
    assert setting(at_import, "failure_threshold") == 3


async def test_a_copy_of_a_function_follows_and_what_travels_has_its_decorators_settings():
    with isolated_registry() as registry:
        registry.configure({"at_import": {"circuit_breaker": {"failure_threshold": 8}}})
        arrived = pickle.loads(cloudpickle.dumps(_nested()))

        assert setting(copy.deepcopy(at_import), "failure_threshold") == 8
        assert setting(arrived, "failure_threshold") == 4
        registry.configure({"travels": {"circuit_breaker": {"failure_threshold": 9}}})
        assert setting(arrived, "failure_threshold") == 9


def _nested():
    @circuit_breaker("travels", failure_threshold=4)
    async def nested():
        return "answer"

    return nested
