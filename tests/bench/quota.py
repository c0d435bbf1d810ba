"""
How much of a known quota `rate_limit` uses, how often it is refused, and how long callers wait, in virtual time.

`python -m tests.bench.quota`: about half a minute.
"""

from __future__ import annotations

import statistics
from typing import Any

from tests.rate_limit.simulation import Simulation, World

WORLDS: dict[str, dict[str, Any]] = {
    "demand 0.6": {"demand": 0.6},
    "demand 0.9": {"demand": 0.9},
    "demand 1.5": {"demand": 1.5},
    "demand 1.5, the provider tells nothing": {"demand": 1.5, "headers": False},
    "demand 1.5, it holds 10 s of its quota": {"demand": 1.5, "window": 10.0},
    "demand 1.5, it holds 60 s": {"demand": 1.5, "window": 60.0},
    "demand 1.5, it counts by fixed minutes": {"demand": 1.5, "window": 60.0, "fixed": True, "seconds": 120.0},
    "demand 1.5, by fixed 10 s": {"demand": 1.5, "window": 10.0, "fixed": True},
    "demand 1.5, by fixed seconds": {"demand": 1.5, "window": 1.0, "fixed": True},
    "demand 1.5, a constant estimate": {"demand": 1.5, "estimate": None},
    "demand 1.5, estimates 0.4 of the truth": {"demand": 1.5, "estimate": 0.4},
    "demand 1.5, others use 30 %": {"demand": 1.5, "foreign": 0.3},
    "demand 1.5, others use 30 %, untold": {"demand": 1.5, "foreign": 0.3, "headers": False},
    "demand 0.6, 120 requests a minute": {"demand": 0.6, "calls": 2.0, "tokens": 1600.0, "window": 60.0},
    "demand 1.5, 120 requests a minute": {"demand": 1.5, "calls": 2.0, "tokens": 1600.0, "window": 60.0},
}


def table(seeds: int) -> str:
    """One line for each world, medians of the seeds."""
    lines = ["| | requests used | tokens used | 429s | p99 of the wait |", "|---|---|---|---|---|"]
    for name, settings in WORLDS.items():
        runs = [Simulation(World(**settings, seed=seed)).run() for seed in range(1, seeds + 1)]
        requests, tokens, refused, wait = (
            statistics.median(each)
            for each in zip(*((*run.used, run.refused_share, run.wait(0.99)) for run in runs), strict=True)
        )
        lines.append(f"| {name} | {requests:.3f} | {tokens:.3f} | {refused:.2%} | {wait * 1000:,.0f} ms |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(seeds=3))
