"""Causes, contexts and groups of exceptions."""

from __future__ import annotations

from resilient_ai import classify
from tests.classification.support import kind, reply


def test_causes_contexts_and_groups_are_searched():
    limited = reply(429)
    by_cause, by_context = RuntimeError("wrapped"), RuntimeError("wrapped")
    by_cause.__cause__ = limited
    by_context.__context__ = limited

    assert kind(by_cause) == kind(by_context) == "rate_limit"
    assert kind(ExceptionGroup("several", [RuntimeError("x"), limited])) == "rate_limit"


def test_a_suppressed_context_and_what_a_bug_was_raised_over_say_nothing():
    hidden = RuntimeError("wrapped")
    hidden.__context__ = reply(429)
    hidden.__suppress_context__ = True
    bug = TypeError("while handling")
    bug.__context__ = reply(429)

    assert classify(hidden).blame == "unknown"
    assert classify(bug).blame == "program"


def test_a_cycle_of_causes_ends():
    one, two = RuntimeError("a"), RuntimeError("b")
    one.__cause__, two.__cause__ = two, one

    assert classify(one).blame == "unknown"
