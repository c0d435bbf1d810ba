"""
What `import resilient_ai` costs beside importing its four dependencies: a ratio, because times differ by machine.

Run: python tests/bench/imports.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

DEPENDENCIES = "import wrapt, tenacity, anyio, structlog"
ROUNDS = 15


def seconds(code: str) -> float:
    """CPU seconds of a fresh interpreter that runs this code, less one that runs nothing."""
    measure = f"import time; start = time.process_time(); {code}; print(time.process_time() - start)"
    done = subprocess.run([sys.executable, "-c", measure], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    seconds("import resilient_ai")  # writes the bytecode
    ratios, ours = [], []
    began = time.monotonic()
    for _ in range(ROUNDS):
        before, whole, after = seconds(DEPENDENCIES), seconds("import resilient_ai"), seconds(DEPENDENCIES)
        ratios.append(whole / ((before + after) / 2))
        ours.append(whole)
    print(f"import resilient_ai: {statistics.median(ratios):.2f} x its dependencies (median of {ROUNDS} pairs;")
    print(f"from {min(ratios):.2f} to {max(ratios):.2f}; {statistics.median(ours) * 1000:.0f} ms of CPU here;", end=" ")
    print(f"measured in {time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    main()
