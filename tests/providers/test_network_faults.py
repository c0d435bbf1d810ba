"""What breaks between us and the provider, over real sockets and through the real SDKs."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import ErrorType, classify
from tests.providers.clients import CLIENTS, quiet
from tests.providers.replay import FAULTS, STREAM_FAULTS, ReplayServer, replaying, unused_port

BROKEN = {ErrorType.NETWORK_ERROR}
LATE = {ErrorType.TIMEOUT}
GARBLED = {ErrorType.INVALID_OUTPUT, ErrorType.INTERNAL_ERROR}  # the latter where an SDK says no more than "failed"
# An answer that cannot be read: of the network, or of whoever wrote it; either way worth another try.
UNREADABLE = BROKEN | GARBLED
EXPECTED = {
    "rst_before_response": BROKEN,
    "close_before_response": BROKEN,
    "rst_mid_headers": BROKEN,
    "rst_mid_body": BROKEN,
    "truncated_content_length": BROKEN,
    "stall_before_response": LATE,
    "stall_mid_body": LATE,
    "garbage_status_line": UNREADABLE,
    "malformed_json": GARBLED,
    "html_200": GARBLED,
    "sse_cut": BROKEN,
    "sse_rst": BROKEN,
    "sse_stall": LATE,
    "sse_bad_json": GARBLED,
    "refused": BROKEN,
    "no_such_host": BROKEN,
    "tls_to_plain_port": BROKEN | LATE,
}
# What an SDK takes for an answer, so that there is nothing to classify. A stream that ends without its mark is seen
# by `endpoint.stream()` of `resilient_ai.providers`, a page with status 200 by a `reject=`.
RETURNED = {
    *((sdk, "html_200") for sdk in ("openai", "azure", "anthropic", "groq", "together", "bedrock")),
    ("bedrock", "malformed_json"),
    ("cohere", "sse_bad_json"),
    ("anthropic", "sse_bad_json"),  # events without a name are passed over
}
SLOW = {"stall_before_response", "stall_mid_body", "sse_stall", "tls_to_plain_port"}
# Clients that do not speak server-sent events.
NO_SSE = {"bedrock", "ollama", "httpx", "httpx2", "aiohttp"}
SEEN = [
    (sdk, fault)
    for sdk in CLIENTS
    for fault in (*FAULTS, *STREAM_FAULTS, "refused", "no_such_host", "tls_to_plain_port")
    if (sdk, fault) not in RETURNED and not (fault in STREAM_FAULTS and sdk in NO_SSE)
]


@pytest.fixture(scope="module")
def raised() -> dict[tuple[str, str], BaseException | None]:
    """What each SDK raised for each fault; those that take until a timeout side by side."""
    seen: dict[tuple[str, str], BaseException | None] = {}

    async def send(server: ReplayServer, sdk: str, fault: str) -> None:
        url = {
            "refused": f"http://127.0.0.1:{unused_port()}",
            "no_such_host": "http://nobody.invalid",
            "tls_to_plain_port": server.origin.replace("http:", "https:"),
        }.get(fault, f"{server.origin}/fault/{fault}")
        stream = fault in STREAM_FAULTS
        api = "converse_stream" if sdk == "bedrock" and stream else "chat"
        seen[sdk, fault] = None
        try:
            await CLIENTS[sdk](url, api, stream, 0.5 if fault in SLOW else 10.0)
        except Exception as error:
            seen[sdk, fault] = error

    async def send_all() -> None:
        with replaying() as server:
            for sdk in CLIENTS:  # the first use of an SDK blocks the loop for seconds
                await send(server, sdk, "refused")
            for sdk, fault in SEEN:
                if fault not in SLOW:
                    await send(server, sdk, fault)
            async with anyio.create_task_group() as tasks:
                for sdk, fault in SEEN:
                    if fault in SLOW:
                        tasks.start_soon(send, server, sdk, fault)

    with quiet():
        anyio.run(send_all)
    return seen


@pytest.mark.parametrize(("sdk", "fault"), SEEN)
def test_a_fault_of_the_network_is_worth_a_retry_and_not_the_callers_mistake(raised, sdk, fault):
    error = raised[sdk, fault]

    assert error is not None, "the SDK took it for an answer"
    verdict = classify(error)
    assert verdict.error_type in EXPECTED[fault], f"{error!r}: {verdict.evidence}"
    assert verdict.retryable
    assert verdict.endpoint_fault
