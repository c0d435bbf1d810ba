"""Fixtures that several files of this folder need."""

from __future__ import annotations

import pytest

from tests.rate_limit.support import Provider


@pytest.fixture
def provider(clock):
    return Provider(clock)
