"""No pattern of the classification can be made slow by a text: ten times the text takes about ten times as long."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time

import pytest

import resilient_ai._classification as package
from resilient_ai import classify

MODULES = [
    importlib.import_module(f"{package.__name__}.{each.name}") for each in pkgutil.iter_modules(package.__path__)
]


def patterns() -> dict[str, re.Pattern[str]]:
    """Every regular expression that stands in a module of the folder, alone or in a table."""
    found: dict[str, re.Pattern[str]] = {}

    def look(name: str, thing: object, depth: int = 0) -> None:
        if isinstance(thing, re.Pattern):
            found.setdefault(thing.pattern, thing)
        elif isinstance(thing, str) and ("|" in thing or "\\" in thing) and "\n\n" not in thing:
            found.setdefault(thing, re.compile(thing, re.IGNORECASE))
        elif isinstance(thing, tuple | list) and depth < 3:
            for each in thing:
                look(name, each, depth + 1)

    for module in MODULES:
        for name, thing in vars(module).items():
            if not name.startswith("__"):
                look(name, thing)
    return found


PATTERNS = patterns()
# What makes a pattern begin again and again: its own beginnings, and what its gaps let through.
PIECES = (
    *("a", " ", "a ", "1", ".", "a.", "A.", "-", "(", "'a' ", "{", "\n", "请", "模型 ", "1:"),
    *("quota ", "no ", "exceeded ", "max_tokens ", "tokens ", "token ", "model ", "the model a ", "invalid ", "api "),
    *("context ", "insufficient ", "rate ", "retry ", "try again ", "access to a ", "free tier a ", "capacity "),
    *(
        "input (",
        "reset ",
        "status ",
        "error code ",
        "parameter a ",
        "unsupported a ",
        "exception-type: ",
        "item with ",
    ),
)
SHORT, LONG = 500, 5_000


TRIVIAL_SECONDS = 0.004


def seconds(pattern: re.Pattern[str], text: str) -> float:
    """CPU time of this thread for one search, the better of two where one is not over in a moment."""
    best = float("inf")
    for _ in range(2):
        started = time.thread_time()
        pattern.search(text)
        best = min(best, time.thread_time() - started)
        if best <= TRIVIAL_SECONDS:
            break
    return best


@pytest.mark.parametrize(
    "pattern", [pytest.param(each, id=str(number)) for number, each in enumerate(PATTERNS.values())]
)
def test_a_search_takes_time_in_proportion_to_the_text(pattern):
    for piece in PIECES:
        short, long = (piece * (size // len(piece)) for size in (SHORT, LONG))
        whole = seconds(pattern, long)
        if whole <= TRIVIAL_SECONDS:
            continue
        bound = 40 * min(seconds(pattern, short) for _ in range(2)) + TRIVIAL_SECONDS

        assert whole <= bound, f"{piece!r} in {pattern.pattern[:200]}"


@pytest.mark.parametrize("piece", PIECES)
def test_any_text_however_long_is_classified_in_the_time_of_a_short_one(piece):
    """It is cut before anything looks at it."""
    started = time.thread_time()
    classify(RuntimeError(piece * (1_000_000 // len(piece))))

    assert time.thread_time() - started < 0.5
