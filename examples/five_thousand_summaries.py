"""
A long job: every text gets its summary, through an outage and a restart, and none is paid for twice.

    python examples/five_thousand_summaries.py            # 300 texts, a provider on this machine
    python examples/five_thousand_summaries.py 5000       # the whole job; with tqdm installed, a bar

Stop it with Ctrl-C and start it again with a path of your own as second argument: it goes on where it was. An outcome
has `.item`, `.answer` or `.error`, `.seconds` and `.attempts`.

Every outage is waited out, a refused key too; with `patience=60` an item that had to wait for longer is an error, and
the next run asks for it again. What a fallback would answer is waited out as well, and not kept.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anyio

from resilient_ai import adaptive_limit, classified_retry, failover
from resilient_ai.jobs import run_all
from resilient_ai.providers import OpenAIEndpoint
from resilient_ai.testing import FakeProvider

HOW_MANY = int(sys.argv[1]) if len(sys.argv) > 1 else 300
TEXTS = [f"Sales rose in region {number}. Costs fell by {number % 90} %." for number in range(HOW_MANY)]


async def main(journal: Path) -> None:
    with FakeProvider("summary", answer=lambda prompt: prompt.partition(": ")[2].partition(".")[0]) as provider:
        endpoint = OpenAIEndpoint("offline", model="gpt-4o-mini", base_url=provider.base_url, api_key="none")

        @classified_retry
        @failover(endpoint)
        @adaptive_limit
        async def summarize(endpoint: OpenAIEndpoint, text: str) -> str:
            return await endpoint.complete(f"Summarize: {text}")

        answered = failed = 0
        async with endpoint:
            async for outcome in run_all(summarize, TEXTS, concurrency=20, journal=journal, progress=HOW_MANY > 300):
                if outcome.error is None:
                    answered += 1
                else:
                    failed += 1
                if answered == HOW_MANY // 3:
                    provider.script(*["overloaded"] * 12)  # for a moment; nothing is lost
        print(f"{answered} summaries, {failed} errors, {len(provider.requests)} requests")

        async for outcome in run_all(summarize, TEXTS, journal=journal):  # a second run asks for nothing
            answered -= outcome.attempts == 0
        print(f"a second run asked for {answered}")


with tempfile.TemporaryDirectory() as folder:
    anyio.run(main, Path(sys.argv[2]) if len(sys.argv) > 2 else Path(folder) / "answers.db")
