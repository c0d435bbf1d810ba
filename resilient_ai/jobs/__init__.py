"""Long jobs: thousands of items through one decorated function, through outages and across restarts."""

from ._outcome import Outcome
from ._run_all import run_all

__all__ = ["Outcome", "run_all"]
