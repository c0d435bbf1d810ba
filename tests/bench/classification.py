"""
How often errors get the right class, and what a retry budget does to an outage of everything.

    python -m tests.bench.classification [--litellm /path/to/python]

Both tables need nothing from outside: the replies are replayed from `tests/providers`, the outage runs in virtual
time. `--litellm` names the Python of an environment that has litellm installed; without it that row is left out.
"""

from __future__ import annotations

import argparse
import builtins
import json
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from resilient_ai import AIServiceError, ErrorType, Registry, RetryBudget, RetryRule, classified_retry, classify
from resilient_ai._classification.error_types import RETRYABLE
from resilient_ai.testing import VirtualClock
from tests.providers.clients import CLIENTS, quiet
from tests.providers.replay import CASES, recorded, replaying

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_ai import Verdict

Case = dict[str, Any]

# -- how the others do it

BY_STATUS = {
    400: "invalid_request", 401: "authentication", 402: "quota_exceeded", 403: "permission", 404: "not_found",
    408: "timeout", 409: "internal_error", 413: "invalid_request", 422: "invalid_request", 429: "rate_limit",
    500: "internal_error", 502: "internal_error", 503: "model_overloaded", 504: "timeout", 529: "model_overloaded",
}  # fmt: skip
BY_NAME = (
    ("RateLimit", "rate_limit"), ("TooManyRequests", "rate_limit"), ("Throttling", "rate_limit"),
    ("Authentication", "authentication"), ("Unauthorized", "authentication"), ("Permission", "permission"),
    ("AccessDenied", "permission"), ("Forbidden", "permission"), ("NotFound", "not_found"), ("Timeout", "timeout"),
    ("Overloaded", "model_overloaded"), ("ServiceUnavailable", "model_overloaded"), ("Quota", "quota_exceeded"),
    ("Payment", "quota_exceeded"), ("Connect", "network_error"), ("BadRequest", "invalid_request"),
    ("Validation", "invalid_request"), ("Unprocessable", "invalid_request"), ("ClientError", "invalid_request"),
    ("Server", "internal_error"), ("API", "internal_error"),
)  # fmt: skip
LITELLM_CLASSES = {
    "RateLimitError": "rate_limit", "ContextWindowExceededError": "context_length",
    "ContentPolicyViolationError": "content_filter", "AuthenticationError": "authentication",
    "PermissionDeniedError": "permission", "NotFoundError": "not_found", "Timeout": "timeout",
    "ServiceUnavailableError": "model_overloaded", "InternalServerError": "internal_error",
    "BadGatewayError": "internal_error", "APIError": "internal_error", "APIConnectionError": "network_error",
    "MidStreamFallbackError": "internal_error", "BadRequestError": "invalid_request",
    "UnprocessableEntityError": "invalid_request", "UnsupportedParamsError": "invalid_request",
    "APIResponseValidationError": "internal_error",
}  # fmt: skip
# Sends every case through litellm itself and prints what it raised; run by the other Python.
LITELLM = """
import asyncio, json, os, sys, warnings
warnings.simplefilter("ignore")
import litellm
litellm.suppress_debug_info = True
os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_REGION_NAME="us-east-1")
MODELS = {"openai": "openai/m", "azure": "azure/m", "anthropic": "anthropic/m", "google": "gemini/m",
          "bedrock": "bedrock/converse/anthropic.claude-3-haiku-20240307-v1:0", "mistral": "mistral/m",
          "cohere": "cohere_chat/m", "groq": "groq/m", "together": "together_ai/m", "ollama": "ollama_chat/m"}
async def main():
    origin, cases = json.load(sys.stdin)
    seen = {}
    for case in cases:
        sdk = case["sdk"][0]
        url = f"{origin}/case/{case['id']}"
        args = {"api_base": url, "api_key": "x", "num_retries": 0, "max_retries": 0, "timeout": 10}
        if sdk == "azure":
            args["api_version"] = "2024-10-21"
        if sdk == "bedrock":
            args = {"aws_bedrock_runtime_endpoint": url, "num_retries": 0, "timeout": 10}
        try:
            if case["api"] == "embeddings":
                await litellm.aembedding(model=MODELS[sdk], input=["hi"], **args)
            else:
                reply = await litellm.acompletion(model=MODELS[sdk], stream=case["in_stream"],
                                                  messages=[{"role": "user", "content": "hi"}], **args)
                if case["in_stream"]:
                    async for _ in reply:
                        pass
            seen[case["id"]] = None
        except Exception as error:
            status = getattr(error, "status_code", None)
            seen[case["id"]] = [type(error).__name__, status, bool(litellm._should_retry(int(status or 0)))]
    print("RESULT" + json.dumps(seen))
asyncio.run(main())
"""


def by_status(error: BaseException) -> str:
    """Only the HTTP status, where an SDK tells it."""
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return BY_STATUS.get(status, "internal_error") if isinstance(status, int) else "internal_error"


def by_name(error: BaseException) -> str:
    """Only the name of the exception's class."""
    names = [cls.__name__ for cls in type(error).__mro__]
    return next((kind for name in names for part, kind in BY_NAME if part in name), "internal_error")


def ours(error: BaseException) -> str:
    return classify(error).error_type.value


def _retries(kind: str) -> bool:
    return ErrorType(kind) in RETRYABLE


# -- the first table


async def _raised() -> list[tuple[Case, BaseException]]:
    found = []
    with replaying() as server:
        for case in CASES:
            for sdk in (sdk for sdk in case["sdk"] if sdk in CLIENTS):
                try:
                    await CLIENTS[sdk](f"{server.origin}/case/{case['id']}", case["api"], case["in_stream"], 10)
                except Exception as error:
                    found.append((case, error))
    return found


async def _set(name: str) -> str:
    """A line of the second table: one file of replies, through its SDKs and httpx2, or as plain text."""
    said: list[tuple[Case, Verdict | None]] = []
    with replaying() as server:
        for case in recorded(name):
            if "text" in case:
                said.append((case, classify(getattr(builtins, case["exception"])(case["text"]))))
                continue
            sdks = dict.fromkeys((*case["sdk"], *(() if case["in_stream"] else ("httpx2",))))
            for sdk in (sdk for sdk in sdks if sdk in CLIENTS):
                server.script[:] = [case]
                seen = None
                try:
                    await CLIENTS[sdk](f"{server.origin}/script", "chat", case["in_stream"], 10)
                except Exception as error:
                    seen = classify(error)
                said.append((case, seen))
    kinds = sum(seen is not None and _right(case, seen.error_type.value) for case, seen in said)
    decisions = sum(seen is not None and seen.retryable is case["retryable"] for case, seen in said)
    waits = [(case["expected_retry_after_s"], seen and seen.retry_after) for case, seen in said]
    kept = sum((a is None) == (b is None) and (a is None or b is None or abs(a - b) < 2) for a, b in waits)
    return f"| {name} | {len(said)} | {kinds / len(said):.1%} | {decisions / len(said):.1%} | {kept / len(said):.1%} |"


def _right(case: Case, kind: str) -> bool:
    return kind in (case["expected_class"], *case["accept"])


def _litellm(python: str) -> list[tuple[Case, str, bool]]:
    cases = [case for case in CASES if case["raises"]]
    with replaying() as server:
        told = json.dumps([server.origin, cases])
        ran = subprocess.run([python, "-c", LITELLM], input=told, capture_output=True, text=True, check=False)
    lines = [line for line in ran.stdout.splitlines() if line.startswith("RESULT")]
    if not lines:
        print(f"litellm did not run: {ran.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return []
    seen = json.loads(lines[0].removeprefix("RESULT"))
    rows = []
    for case in cases:
        name, _status, retried = seen[case["id"]] or ("returned", 200, False)
        rows.append((case, LITELLM_CLASSES.get(name, "internal_error" if name != "returned" else "returned"), retried))
    return rows


def score(litellm: str | None) -> None:
    with quiet():
        raised = anyio.run(_raised)
    rows: list[tuple[str, int, float, float]] = []
    ways: tuple[tuple[str, Callable[[BaseException], str]], ...] = (
        ("status only", by_status),
        ("class name only", by_name),
        ("resilient_ai.classify", ours),
    )
    for name, way in ways:
        kinds = [(case, way(error), error) for case, error in raised]
        right = sum(_right(case, kind) for case, kind, _ in kinds)
        decided = sum(
            (classify(error).retryable if way is ours else _retries(kind)) is case["retryable"]
            for case, kind, error in kinds
        )
        rows.append((name, len(kinds), right / len(kinds), decided / len(kinds)))
    if litellm is not None and Path(litellm).exists():
        mapped = _litellm(litellm)
        if mapped:
            right = sum(_right(case, kind) for case, kind, _ in mapped)
            decided = sum(retried is case["retryable"] for case, _, retried in mapped)
            rows.insert(2, ("litellm's mapping", len(mapped), right / len(mapped), decided / len(mapped)))
    print("| evidence | errors | right class | right decision |\n|---|--:|--:|--:|")
    for name, count, right, decided in rows:
        print(f"| {name} | {count} | {right:.1%} | {decided:.1%} |")
    print("\n| set | errors | right class | right decision | right wait |\n|---|--:|--:|--:|--:|")
    for name in ("unseen_errors", "provider_errors_2", "unseen_errors_2", "unseen_errors_3", "unseen_errors_4"):
        with quiet():
            print(anyio.run(_set, name))


# -- the second table


class DownError(Exception):
    error_type = ErrorType.MODEL_OVERLOADED


async def _outage(rate: float, seconds: float, **settings: Any) -> tuple[int, int]:
    """Calls made and requests sent while every endpoint is down."""
    clock = VirtualClock()
    registry = Registry(clock=clock, rng=random.Random(1), listeners=())
    sent = 0

    @classified_retry("ask", registry=registry, **settings)
    async def ask() -> None:
        nonlocal sent
        sent += clock.now() <= seconds
        await clock.sleep(0.05)
        raise DownError

    async def call() -> None:
        with suppress(AIServiceError):
            await ask()

    calls = 0
    async with clock.autojump(), anyio.create_task_group() as tasks:
        while clock.now() < seconds:
            tasks.start_soon(call)
            calls += 1
            await clock.sleep(1 / rate)
    return calls, sent


def outage() -> None:
    at_once = {ErrorType.MODEL_OVERLOADED: RetryRule(4, 2.0, 30.0, multiplier=1.5)}
    print("\n| calls per second | calls in 120 s | sent without a budget | sent with the budget |\n|--:|--:|--:|--:|")
    for rate in (0.2, 2.0, 20.0):
        calls, wild = anyio.run(lambda rate=rate: _outage(rate, 120.0, rules=at_once, budget=None), backend="trio")  # type: ignore[misc]
        _, tame = anyio.run(lambda rate=rate: _outage(rate, 120.0, rules=at_once, budget=RetryBudget()), backend="trio")  # type: ignore[misc]
        print(f"| {rate:g} | {calls} | {wild} ({wild / calls:.2f}×) | {tame} ({tame / calls:.2f}×) |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", help="Python of an environment with litellm")
    arguments = parser.parse_args()
    score(arguments.litellm)
    outage()


if __name__ == "__main__":
    main()
