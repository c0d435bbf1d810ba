"""Both tables: overhead, then goodput."""

import asyncio

from tests.bench import overhead
from tests.bench.goodput import run

print(overhead.table(overhead.cases(), overhead.measured(overhead.cases(), rounds=150)))
print()
print(overhead.crowd_table(asyncio.run(overhead.crowds())))
print()
print(run.table(run.shown(), seeds=3))
