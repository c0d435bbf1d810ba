"""
What refusals by chance cost with `adaptive_limit`: answers in time, in points below the same stack without it.

    python -m tests.bench.refusals          virtual time, a minute or two
    python -m tests.bench.refusals --real   a few cells in real time, in 40 seconds

A provider that has room for everybody refuses a share of all calls, however slowly it is asked. The stack is
`@resilient`, on one endpoint and on two.
"""

from __future__ import annotations

import argparse
import asyncio
import random

import anyio

from resilient_ai import Endpoint, Registry, resilient
from resilient_ai.types import SystemClock

from .goodput.world import VirtualLoop, now

SHARES = (0.001, 0.01, 0.03, 0.1, 0.2)
DEADLINES = (2.0, 15.0, 60.0)
RATES = (3.0, 10.0, 40.0)


class _LoopClock(SystemClock):
    now = staticmethod(now)


class RefusedError(Exception):
    """A 429 or a 529."""

    def __init__(self, status_code: int) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code
        self.headers = {"retry-after": "1"}


async def share_answered(
    share: float,
    deadline: float,
    rate: float,
    *,
    limited: bool,
    status: int = 429,
    ends: int = 1,
    seconds: float = 60.0,
) -> float:
    """Percent of the callers that are answered within their deadline."""
    registry = Registry(clock=_LoopClock(), rng=random.Random(1), listeners=())
    luck, arrivals = random.Random(1), random.Random(2)

    async def provider(_endpoint: Endpoint) -> None:
        if luck.random() < share:
            await asyncio.sleep(0.05)
            raise RefusedError(status)
        await asyncio.sleep(0.25 + 0.5 * luck.random())

    names = [Endpoint(name) for name in ("us", "eu")[:ends]]
    stack = resilient(*names, patience=deadline, adaptive_limit=None if limited else False, registry=registry)
    ask = stack(provider)
    outcomes: list[bool] = []

    async def caller(when: float) -> None:
        await asyncio.sleep(when)
        try:
            with anyio.fail_after(deadline):
                await ask()
            outcomes.append(True)
        except Exception:
            outcomes.append(False)

    when = 0.0
    async with asyncio.TaskGroup() as callers:
        while (when := when + arrivals.expovariate(rate)) < seconds:
            callers.create_task(caller(when))
    return 100.0 * sum(outcomes) / len(outcomes)


def cost(share: float, deadline: float, rate: float, *, real: bool = False, **world: object) -> float:
    """Points that the limit costs; negative: it gains some."""
    found = []
    for limited in (False, True):
        with asyncio.Runner(loop_factory=None if real else VirtualLoop) as runner:
            found.append(runner.run(share_answered(share, deadline, rate, limited=limited, **world)))  # type: ignore[arg-type]
    return found[0] - found[1]


def table() -> str:
    lines = [
        "| refused | " + " | ".join(f"deadline {deadline:g} s" for deadline in DEADLINES) + " |",
        "|---|--:|--:|--:|",
    ]
    for status in (429, 529):
        for share in SHARES:
            cells = [
                max(cost(share, deadline, rate, status=status, ends=ends) for rate in RATES for ends in (1, 2))
                for deadline in DEADLINES
            ]
            lines.append(
                f"| {share:.1%} with {status} | " + " | ".join(f"{max(0.0, cell):.1f}" for cell in cells) + " |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true")
    if not parser.parse_args().real:
        print(table())
        return
    for share in (0.01, 0.1):
        points = cost(share, 2.0, 40.0, real=True, seconds=8.0)
        print(f"real time, {share:.0%} refused, 40 calls a second, deadline 2 s: {points:.1f} points")


if __name__ == "__main__":
    main()
