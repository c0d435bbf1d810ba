"""
Error replies that the rules were not written beside: what each means, over HTTP through the SDKs, or as plain text.

Labelled by what the provider means, before the rules met them; `tests/bench/README.md` has the scores of the first
runs.
"""

from __future__ import annotations

import builtins

import anyio
import pytest

from resilient_ai import Verdict, classify
from tests.providers.clients import CLIENTS, quiet
from tests.providers.replay import recorded, replaying

SETS = ("unseen_errors", "provider_errors_2", "unseen_errors_2", "unseen_errors_3")
ROUTES = [
    pytest.param(case, sdk, id=f"{name}-{case['id']}-{sdk}")
    for name in SETS
    for case in recorded(name)
    for sdk in dict.fromkeys((*case["sdk"], *(() if case["in_stream"] or "text" in case else ("httpx2",))))
    if sdk in CLIENTS or sdk == "plain"
]


@pytest.fixture(scope="module")
def verdicts():
    """What `classify` says of each reply through each client; classified while fresh, because dates decay."""
    seen: dict[tuple[int, str], Verdict | None] = {}

    async def send_all() -> None:
        with replaying() as server:
            for case, sdk in (route.values for route in ROUTES):
                key = id(case), sdk
                if sdk == "plain":
                    seen[key] = classify(getattr(builtins, case["exception"])(case["text"]))
                    continue
                server.script[:] = [case]
                seen[key] = None
                try:
                    await CLIENTS[sdk](f"{server.origin}/script", "chat", case["in_stream"], 10)
                except Exception as error:
                    seen[key] = classify(error)

    with quiet():
        anyio.run(send_all)
    return seen


@pytest.mark.parametrize(("case", "sdk"), ROUTES)
def test_an_unseen_reply_has_its_class_its_decision_and_its_wait(verdicts, case, sdk):
    seen = verdicts[id(case), sdk]

    assert seen is not None, "the SDK returned the error as a result"
    assert seen.error_type.value in {case["expected_class"], *case["accept"]}, seen.evidence
    assert seen.retryable is case["retryable"]
    assert seen.in_stream is case["in_stream"] or sdk == "plain"
    assert seen.endpoint_fault is case.get("failover", seen.endpoint_fault)
    wait = case["expected_retry_after_s"]
    assert seen.retry_after == (None if wait is None else pytest.approx(wait, abs=1.5))
