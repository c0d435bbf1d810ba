"""
How much of a known quota `rate_limit` uses, how often it is refused, and how long callers wait, in virtual time.

`python -m tests.bench.quota`: one process; about half a minute. `python -m tests.bench.quota fleet`: workers that share
the quota by leases, beside workers that divide it and workers that share nothing; about four minutes.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from tests.rate_limit.fleet_simulation import Fleet, FleetSimulation
from tests.rate_limit.simulation import WARM_UP, Simulation, World

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


SMALL = {"calls": 2.0, "tokens": 1600.0, "window": 60.0, "seconds": 120.0}
AWAY = (WARM_UP + 10, WARM_UP + 25)
FLEETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "demand 0.6, leased": ({"demand": 0.6}, {}),
    "divided equally": ({"demand": 0.6}, {"mode": "divided"}),
    "each the whole": ({"demand": 0.6}, {"mode": "unshared"}),
    "demand 0.9, leased": ({"demand": 0.9}, {}),
    "divided equally ": ({"demand": 0.9}, {"mode": "divided"}),
    "each the whole ": ({"demand": 0.9}, {"mode": "unshared"}),
    "demand 1.5, leased": ({"demand": 1.5}, {}),
    "divided equally  ": ({"demand": 1.5}, {"mode": "divided"}),
    "each the whole  ": ({"demand": 1.5}, {"mode": "unshared"}),
    "demand 0.9, 8 workers": ({"demand": 0.9}, {"workers": 8}),
    "demand 1.5, 8 workers": ({"demand": 1.5}, {"workers": 8}),
    "demand 1.5, 200 workers": ({"demand": 1.5}, {"workers": 200}),
    "demand 1.5, a burst of 1 s": ({"demand": 1.5, "burst": 1.0}, {}),
    "demand 1.5, it counts by 60 s": ({"demand": 1.5, "window": 60.0}, {}),
    "demand 1.5, estimates 0.4 of the truth": ({"demand": 1.5, "estimate": 0.4}, {}),
    "demand 1.5, others use 30 %": ({"demand": 1.5, "foreign": 0.3}, {}),
    "demand 1.5, others use 30 %, untold": ({"demand": 1.5, "foreign": 0.3, "headers": False}, {}),
    "demand 0.9, 8 of 50 workers die": ({"demand": 0.9}, {"die": (WARM_UP + 10, 8)}),
    "demand 1.5, 8 of 50 workers die": ({"demand": 1.5}, {"die": (WARM_UP + 10, 8)}),
    "demand 0.6, 120 requests a minute": ({"demand": 0.6, **SMALL}, {}),
    "demand 1.5, 120 requests a minute": ({"demand": 1.5, **SMALL}, {}),
    "demand 0.8, server away 15 of 45 s": ({"demand": 0.8, "seconds": 45.0}, {"away": AWAY}),
    "demand 1.5, server away 15 of 45 s": ({"demand": 1.5, "seconds": 45.0}, {"away": AWAY}),
}


def fleet_table(seeds: int) -> None:
    """One line for each fleet, medians of the seeds."""
    titles = (
        "requests | tokens | 429s | p50 | p99 of the wait | turned away | commands a call | a worker and s | served"
    )
    print(f"| | {titles} |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, (world, fleet) in FLEETS.items():
        runs = [
            FleetSimulation(World(**{"seconds": 30.0, **world, "seed": seed}), Fleet(**fleet)).run()
            for seed in range(1, seeds + 1)
        ]
        requests, tokens, refused, half, wait, away, commands, least, most = (
            statistics.median(each)
            for each in zip(
                *(
                    (
                        *run.used,
                        run.refused_share,
                        run.wait(0.5),
                        run.wait(0.99),
                        run.turned_away / max(1, sum(each.asked for each in run.workers)),
                        run.commands,
                        *run.served,
                    )
                    for run in runs
                ),
                strict=True,
            )
        )
        calls = runs[0].provider.taken_calls
        print(
            f"| {name.strip()} | {requests:.3f} | {tokens:.3f} | {refused:.2%} | {half * 1000:,.0f} ms |"
            f" {wait * 1000:,.1f} ms | {away:.0%} | {commands / max(1.0, calls):.2f} |"
            f" {commands / runs[0].world.seconds / runs[0].fleet.workers:.2f} | {least:.0%}–{most:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:] == ["fleet"]:
        fleet_table(seeds=3)
    else:
        print(table(seeds=3))
