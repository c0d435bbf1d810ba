"""
Goodput in scripted and in random outages: both tables, and the one of random outages of streams.

    python -m tests.bench.goodput [--worlds 20] [--first 200]
"""

from __future__ import annotations

import argparse

from .contenders import installed
from .run import shown, table
from .worlds import SLOW, report, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=60)
    parser.add_argument("--first", type=int, default=200)
    options = parser.parse_args()
    print(table(shown(), seeds=3))
    numbers = range(options.first, options.first + options.worlds)
    names = [name for name in installed() if name != SLOW]
    for streams in (False, True):
        title = "Random outages of streams" if streams else "Random outages"
        print(f"\n{title}\n", report(run(names, numbers, 0, None, streams=streams), numbers, streams=streams), sep="\n")


if __name__ == "__main__":
    main()
