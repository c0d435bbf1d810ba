"""What the policies read streams with, and how they round."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai._core.quantiles import quantile
from resilient_ai._core.streams import END, Broken, pull


class BrokenError(Exception):
    """Of a stream."""


async def items(*given, error=None):
    for each in given:
        yield each
    if error is not None:
        raise error


async def test_a_pull_tells_item_end_and_error_apart():
    error = BrokenError()
    whole, broken = items(1), items(2, error=error)

    assert [await pull(whole), await pull(whole)] == [1, END]
    assert await pull(broken) == 2
    ended = await pull(broken)
    assert type(ended) is Broken
    with pytest.raises(BrokenError) as caught:
        ended.throw()
    assert caught.value is error


async def test_an_error_that_was_thrown_is_not_kept_by_what_carried_it():
    async def failing():
        raise BrokenError
        yield

    ended = await pull(failing())
    gc.collect()
    gc.disable()
    try:
        try:
            ended.throw()
        except BrokenError as error:
            gone = weakref.ref(error)
        assert gone() is None
    finally:
        gc.enable()


@given(
    values=st.lists(st.floats(allow_nan=False), min_size=1, max_size=50),
    share=st.floats(0, 1, exclude_min=True),
)
def test_a_quantile_is_the_least_value_that_its_share_does_not_exceed(values, share):
    found = quantile(values, share)
    ranked = sorted(values)

    assert sum(each <= found for each in values) >= share * len(values)
    assert found == ranked[0] or sum(each < found for each in values) < share * len(values)
    assert quantile([], share) is None
