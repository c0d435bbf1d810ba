"""A short soak; `python -m tests.bench.soak` runs ten minutes of it."""

from __future__ import annotations

import pytest

from tests.bench.soak import soak


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
async def test_after_mixed_traffic_with_cancellations_everywhere_all_counts_balance(seed):
    assert await soak(1, seed, show=False) == []
