"""
What imports cost beside importing the four dependencies: a ratio, because times differ by machine.

Run: python tests/bench/imports.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

DEPENDENCIES = "import wrapt, tenacity, anyio, structlog"
POLICIES = "circuit_breaker, classified_retry, degrade_to"
CASES = (
    "import resilient_ai",
    "from resilient_ai import circuit_breaker",
    f"from resilient_ai import {POLICIES}",
    f"from resilient_ai import {POLICIES}, failover, adaptive_limit, batched",
)
ROUNDS = 15


def seconds(code: str) -> float:
    """CPU seconds of a fresh interpreter that runs this code, less one that runs nothing."""
    measure = f"import time; start = time.process_time(); {code}; print(time.process_time() - start)"
    done = subprocess.run([sys.executable, "-c", measure], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    began = time.monotonic()
    for case in CASES:
        whole = f"{DEPENDENCIES}; {case}"  # one that is not imported yet is paid for by whoever asks for a policy
        seconds(whole)  # writes the bytecode
        ratios = []
        for _ in range(ROUNDS):
            before, ours, after = seconds(DEPENDENCIES), seconds(whole), seconds(DEPENDENCIES)
            ratios.append(ours / ((before + after) / 2))
        print(f"{case}: {statistics.median(ratios):.2f} x the dependencies", end=" ")
        print(f"(median of {ROUNDS} pairs, from {min(ratios):.2f} to {max(ratios):.2f})")
    print(f"measured in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
