"""The front door: what it shows, and what walking through it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import resilient_ai

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
]


def test_all_is_sorted_and_complete():
    names = resilient_ai.__all__
    assert all(hasattr(resilient_ai, name) for name in names)  # one of them is imported when it is asked for
    public = {name for name in vars(resilient_ai) if not name.startswith("_")}
    modules = {name for name in public if type(getattr(resilient_ai, name)).__name__ == "module"}

    assert sorted(set(names)) == sorted(names)
    assert set(names) == public - modules


@pytest.mark.parametrize("name", resilient_ai.__all__)
def test_every_public_thing_has_a_docstring_of_its_own(name):
    thing = getattr(resilient_ai, name)
    if callable(thing):
        assert thing.__doc__


def test_importing_the_package_imports_no_sdk_no_http_client_and_no_trio():
    code = f"import sys, resilient_ai; print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"
