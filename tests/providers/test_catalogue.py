"""Every recorded error reply, over real HTTP through the real SDKs, means what the table says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import anyio
import pytest

from resilient_ai import Verdict, classify, classify_result
from tests.providers.clients import CLIENTS, quiet
from tests.providers.replay import CASES, ReplayServer, replaying


def _routes(case):
    """Which clients a reply is sent through: the SDKs it was recorded for, and bare HTTP clients."""
    sdks = [*case["sdk"], *(["google_httpx2"] if "google" in case["sdk"] else [])]
    if case["raises"] and not case["in_stream"]:
        sdks += ["httpx", "httpx2"]
    return [sdk for sdk in sdks if sdk in CLIENTS]


ROUTES = [(case, sdk) for case in CASES for sdk in _routes(case)]
RAISING = [(case, sdk) for case, sdk in ROUTES if case["raises"]]
RETURNING = [(case, sdk) for case, sdk in ROUTES if not case["raises"]]


@pytest.fixture(scope="module")
def raised():
    """What each SDK raised for each reply, all sent in one go; classified while fresh, because dates decay."""
    seen: dict[tuple[str, str], tuple[BaseException | None, Verdict | None, object]] = {}

    async def send(server: ReplayServer, case, sdk) -> None:
        error = result = None
        try:
            result = await CLIENTS[sdk](f"{server.origin}/case/{case['id']}", case["api"], case["in_stream"], 10)
        except Exception as caught:
            error = caught
        seen[case["id"], sdk] = error, classify(error) if error is not None else None, result

    async def send_all() -> None:
        with replaying() as server:
            for case, sdk in ROUTES:
                await send(server, case, sdk)

    with quiet():
        anyio.run(send_all)
    return seen


def _id(value):
    return value["id"] if isinstance(value, dict) else value


@pytest.mark.parametrize(("case", "sdk"), RAISING, ids=_id)
def test_a_recorded_reply_has_its_class_its_decision_and_its_wait(raised, case, sdk):
    error, seen, _ = raised[case["id"], sdk]

    assert error is not None, "the SDK returned the error as a result"
    assert seen.error_type.value in {case["expected_class"], *case["accept"]}, seen.evidence
    assert seen.retryable is case["retryable"]
    assert seen.endpoint_fault is case["failover"] or seen.error_type.value != case["expected_class"]
    assert seen.in_stream is case["in_stream"]
    wait = case["expected_retry_after_s"]
    assert seen.retry_after == (None if wait is None else pytest.approx(wait, abs=1.5))


@pytest.mark.parametrize(("case", "sdk"), RETURNING, ids=_id)
def test_an_error_that_an_sdk_returns_is_known_by_its_result(raised, case, sdk):
    error, _, result = raised[case["id"], sdk]

    assert error is None
    assert classify_result(result).value in {case["expected_class"], *case["accept"]}


def test_the_score_per_provider(raised):
    """Prints the table; `-s` shows it."""
    right, decided, total = Counter(), Counter(), Counter()
    for case, sdk in RAISING:
        _, seen, _ = raised[case["id"], sdk]
        total[sdk] += 1
        right[sdk] += seen.error_type.value == case["expected_class"] or seen.error_type.value in case["accept"]
        decided[sdk] += seen.retryable is case["retryable"]
    print("\nclient          replies  class  retry or not")
    for sdk in sorted(total):
        print(f"{sdk:14}  {total[sdk]:7}  {right[sdk] / total[sdk]:5.1%}  {decided[sdk] / total[sdk]:12.1%}")

    assert sum(right.values()) >= 0.99 * sum(total.values())
    assert sum(decided.values()) >= 0.98 * sum(total.values())


def test_an_sdks_error_looks_the_same_to_classify_after_a_longer_name(raised):
    """Verdicts come from what is carried: a subclass of the user's own changes nothing."""
    error, seen, _ = raised["openai_429_rpm", "openai"]
    own = type("Renamed", (type(error),), {})
    error.__class__ = own

    assert replace(classify(error), retry_after=None) == replace(seen, retry_after=None)
