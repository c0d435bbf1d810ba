"""
Goodput in random outages, over hundreds of worlds (see `weather`).

    python -m tests.bench.goodput.worlds [--worlds 20] [--first 0] [--seed 0] [--only resilient_ai] [--streams] [--plot]

Every contender runs except LiteLLM's router, which takes 15 s of CPU for a world and has to be named in `--only`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean

from .contenders import installed
from .peers import PEERS
from .weather import Result, run_one, weather

PLOT = Path(__file__).parent.parent / "weather.png"
SLOW = "LiteLLM's router"
YARDSTICKS = "taught", "informed", "oracle"
MOST_WASTED = 150.0  # calls a minute
Results = dict[str, list[Result]]


def run(
    names: Sequence[str], numbers: Sequence[int], seed: int, keep: Path | None, *, streams: bool = False
) -> Results:
    """Every contender in every world, on all cores; what is in the file `keep` is not run again."""
    kept = json.loads(keep.read_text()) if keep is not None and keep.exists() else {}
    results, kind = {}, "/streams" if streams else ""
    with ProcessPoolExecutor() as pool:
        for name in names:
            missing = [number for number in numbers if f"{name}/{number}/{seed}{kind}" not in kept]
            one = partial(run_one, name=name, seed=seed, streams=streams)
            for number, result in zip(missing, pool.map(one, missing), strict=True):
                kept[f"{name}/{number}/{seed}{kind}"] = asdict(result)
                if keep is not None:
                    keep.write_text(json.dumps(kept))
            results[name] = [Result(**kept[f"{name}/{number}/{seed}{kind}"]) for number in numbers]
    return results


def shares(every: Sequence[Result], best: Sequence[Result]) -> list[float]:
    """Answers in time, in percent of another contender's."""
    return [
        100 * each.answered / other.answered if other.answered else 100.0
        for each, other in zip(every, best, strict=True)
    ]


def recovered(every: Sequence[Result], best: Sequence[Result]) -> float:
    """Percent of the worlds in which, 2 to 8 s after the last trouble, hardly more callers are lost than need be."""
    return 100 * mean(
        each.lost_after <= other.lost_after + max(1, 0.05 * each.came_then)
        for each, other in zip(every, best, strict=True)
    )


def report(results: Results, numbers: Sequence[int], *, streams: bool = False) -> str:
    columns = (
        "answered in time",
        "in half the patience",
        "of the informed",
        "of the oracle's",
        "worst tenth",
        "worst",
        "wasted a minute",
        f"outages above {MOST_WASTED:.0f}",
        "recovered in 2 s",
    )
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "--:|" * len(columns)]
    oracle = results["oracle"]
    for name, every in results.items():
        ordered = sorted(shares(every, oracle))
        wasted = [each.wasted for each in every if each.wasted is not None]
        above = 100 * mean(each > MOST_WASTED for each in wasted) if wasted else 0.0
        cells = (
            f"{mean(each.answered for each in every):.1f}",
            f"{mean(each.soon for each in every):.1f}",
            f"{mean(shares(every, results['informed'])):.1f}",
            f"{mean(ordered):.1f}",
            f"{mean(ordered[: max(1, len(ordered) // 10)]):.1f}",
            f"{ordered[0]:.1f}",
            f"{mean(wasted) if wasted else 0.0:.0f}",
            f"{above:.0f} %",
            f"{recovered(every, oracle):.0f} %",
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if "resilient_ai" in results:
        lines += ["", *_against_peers(results), "", *_furthest(results, numbers, streams=streams)]
    return "\n".join(lines)


def _against_peers(results: Results) -> list[str]:
    ours, peers = results["resilient_ai"], [results[name] for name in PEERS if name in results]
    if not peers:
        return []
    behind = mean(mine.answered < max(peer[i].answered for peer in peers) - 2 for i, mine in enumerate(ours))
    return [f"Worlds in which a library is more than 2 points ahead of `resilient_ai`: {100 * behind:.1f} %."]


def _furthest(results: Results, numbers: Sequence[int], *, streams: bool) -> list[str]:
    ours, oracle = results["resilient_ai"], results["oracle"]
    order = sorted(range(len(numbers)), key=lambda i: ours[i].answered / max(oracle[i].answered, 1e-9))
    lines = ["Where `resilient_ai` is furthest from the oracle, and what its callers met at last:", ""]
    for i in order[: max(3, len(order) // 10)]:
        others = ", ".join(f"{name} {every[i].answered:.1f}" for name, every in results.items())
        met = ", ".join(f"{name} {count}" for name, count in sorted(ours[i].why.items(), key=lambda item: -item[1])[:3])
        lines.append(f"- {numbers[i]}: {others}. {weather(numbers[i], streams=streams).told}. Met: {met}")
    return lines


def plot(results: Results, path: Path = PLOT) -> None:
    """Ours against each other contender, a dot for each world."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ours = [each.answered for each in results["resilient_ai"]]
    others = [name for name in results if name not in ("resilient_ai", "naive")]
    figure, panels = plt.subplots(1, len(others), figsize=(2.6 * len(others), 3.1), sharey=True, squeeze=False)
    for panel, name in zip(panels[0], others, strict=True):
        panel.plot([0, 100], [0, 100], color="0.7", linewidth=0.8)
        panel.scatter([each.answered for each in results[name]], ours, s=7, alpha=0.6, color="tab:blue", linewidths=0)
        panel.set(title=name, xlabel="its callers answered in time, %", xlim=(0, 101), ylim=(0, 101))
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("resilient_ai, %")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="of the luck in each world")
    parser.add_argument("--only", help="names of contenders, with commas; the oracles always run")
    parser.add_argument("--keep", type=Path, help="a JSON file for the results; only those that it lacks are run")
    parser.add_argument("--streams", action="store_true", help="answers in parts; LiteLLM's router cannot take part")
    parser.add_argument("--plot", action="store_true", help=f"write {PLOT.name} as well (needs the bench extra)")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else [name for name in installed() if name != SLOW]
    numbers = range(options.first, options.first + options.worlds)
    everybody = [*(name for name in names if name not in YARDSTICKS), *YARDSTICKS]
    results = run(everybody, numbers, options.seed, options.keep, streams=options.streams)
    print(report(results, numbers, streams=options.streams))
    if options.plot:
        plot(results)


if __name__ == "__main__":
    main()
