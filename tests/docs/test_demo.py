"""The demo is the first thing a newcomer runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from resilient_ai.__main__ import main


def test_the_demo_survives_its_outage_and_shows_how():
    done = subprocess.run([sys.executable, "-m", "resilient_ai", "demo"], capture_output=True, text=True, check=False)
    told = done.stdout

    assert (done.returncode, done.stderr) == (0, "")
    assert told.count(" answer  ") == 12
    for what in (
        "sends 4 callers as one request",
        "us-east failed (model_overloaded), on to eu-west at once",
        "eu-west rests for 20.0 s",
        "summarize[us-east] opens for 1.0 s",
        "tries again in 0.3 s",
        "[CACHED] Heavy rain stopped the trains",
        "[RULE-BASED] A new ferry starts in June.",
        "summarize[us-east] is closed again",
        "us-east is back in rotation",
        ">>> registry\ncall site",
        "Every caller got an answer.",
    ):
        assert what in told
    assert max(map(len, told.splitlines())) <= 120


def test_the_command_line_says_what_it_can_do(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])

    assert ended.value.code == 2
    assert "demo" in capsys.readouterr().err


def test_without_the_sdks_the_demo_says_what_to_install():
    code = (
        "import importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'anthropic' else find(name, *a);"
        "from resilient_ai.__main__ import main; raise SystemExit(main(['demo']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "pip install 'resilient-ai[anthropic]'" in done.stderr
    assert done.stderr.strip().endswith("all that it needs: pip install 'resilient-ai[openai,anthropic,similar]'")
