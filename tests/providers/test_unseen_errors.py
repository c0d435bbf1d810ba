"""
Error replies that the rules were not written beside: what each means, over HTTP through the SDKs.

Labelled before the rules were read, by what the provider means; `tests/bench/README.md` has the score of the first run.
"""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from resilient_ai import Verdict, classify
from tests.providers.clients import CLIENTS, quiet
from tests.providers.replay import replaying

UNSEEN = json.loads((Path(__file__).parent / "data" / "unseen_errors.json").read_text())
ROUTES = [
    (case, sdk)
    for case in UNSEEN
    for sdk in (*case["sdk"], *(() if case["in_stream"] else ("httpx2",)))
    if sdk in CLIENTS
]


@pytest.fixture(scope="module")
def verdicts():
    """What `classify` says of each reply through each client; classified while fresh, because dates decay."""
    seen: dict[tuple[str, str], Verdict | None] = {}

    async def send_all() -> None:
        with replaying() as server:
            for case, sdk in ROUTES:
                server.script[:] = [case]
                seen[case["id"], sdk] = None
                try:
                    await CLIENTS[sdk](f"{server.origin}/script", "chat", case["in_stream"], 10)
                except Exception as error:
                    seen[case["id"], sdk] = classify(error)

    with quiet():
        anyio.run(send_all)
    return seen


def _id(value):
    return value["id"] if isinstance(value, dict) else value


@pytest.mark.parametrize(("case", "sdk"), ROUTES, ids=_id)
def test_an_unseen_reply_has_its_class_its_decision_and_its_wait(verdicts, case, sdk):
    seen = verdicts[case["id"], sdk]

    assert seen is not None, "the SDK returned the error as a result"
    assert seen.error_type.value in {case["expected_class"], *case["accept"]}, seen.evidence
    assert seen.retryable is case["retryable"]
    assert seen.in_stream is case["in_stream"]
    wait = case["expected_retry_after_s"]
    assert seen.retry_after == (None if wait is None else pytest.approx(wait, abs=1.5))
