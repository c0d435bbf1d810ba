"""What the library keeps in memory; the figures are bytes, measured as `python -m tests.bench.memory` does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
memory = pytest.importorskip("tests.bench.memory")


MOST = {"circuit_breaker": 3_600, "classified_retry": 3_000, "adaptive_limit": 4_100, "degrade_to": 2_400}


def test_a_decorated_function_keeps_little():
    kept = memory.per_function()

    assert kept.keys() == MOST.keys()
    assert {kind: size for kind, size in kept.items() if size > MOST[kind]} == {}


def test_a_key_of_a_circuit_keeps_little():
    assert memory.per_key() < 1_000


def test_successful_calls_leave_nothing_behind():
    many = 10_000  # so that what other tests left to end weighs little
    survived, cyclic = memory.left_behind(memory.stack(), many)

    assert survived < 1
    assert cyclic == 0
