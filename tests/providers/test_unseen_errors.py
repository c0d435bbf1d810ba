"""
Error replies that the rules were not written beside: what each means, over HTTP through the SDKs, or as plain text.

Labelled by what the provider means, before the rules met them; `tests/bench/README.md` has the scores of the first
runs.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import pytest

from resilient_ai import Verdict, classify
from tests.providers.clients import CLIENTS, quiet
from tests.providers.replay import recorded, replaying

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.providers.replay import ReplayServer

SETS = ("unseen_errors", "provider_errors_2", "unseen_errors_2", "unseen_errors_3", "unseen_errors_4")
ROUTES = [
    (f"{name}-{case['id']}", case, sdk)
    for name in SETS
    for case in recorded(name)
    for sdk in dict.fromkeys((*case["sdk"], *(() if case["in_stream"] or "text" in case else ("httpx2",))))
    if sdk in CLIENTS or sdk == "plain"
]


async def classified(server: ReplayServer, case: Mapping[str, Any], sdk: str) -> Verdict | None:
    """What `classify` says of a reply through a client, while the reply is fresh, because dates decay."""
    if sdk == "plain":
        return classify(getattr(builtins, case["exception"])(case["text"]))
    server.script[:] = [case]
    try:
        await CLIENTS[sdk](f"{server.origin}/script", "chat", case["in_stream"], 10)
    except Exception as error:
        return classify(error)
    return None


@pytest.mark.parametrize("sdk", sorted({sdk for _, _, sdk in ROUTES}))
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_unseen_reply_has_its_class_its_decision_and_its_wait(sdk):
    with replaying() as server, quiet():
        for name, case in ((name, case) for name, case, each in ROUTES if each == sdk):
            seen = await classified(server, case, sdk)

            assert seen is not None, f"{name}: the SDK returned the error as a result"
            assert seen.error_type.value in {case["expected_class"], *case["accept"]}, (name, seen.evidence)
            assert seen.retryable is case["retryable"], name
            assert seen.in_stream is case["in_stream"] or sdk == "plain", name
            assert seen.endpoint_fault is case.get("failover", seen.endpoint_fault), name
            wait = case["expected_retry_after_s"]
            assert seen.retry_after == (None if wait is None else pytest.approx(wait, abs=1.5)), name
