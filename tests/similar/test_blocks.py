"""A table in blocks: it holds what a list would hold, and what is in it is moved no more once a block is full."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai.similar._blocks import BLOCK, Blocks

changes = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.integers(0, 40)),
        st.tuples(st.just("replace"), st.integers(0, 1_000)),
        st.tuples(st.just("remove"), st.integers(0, 1_000)),
    ),
    max_size=30,
)


def numbered(first: int, count: int) -> np.ndarray:
    return np.stack([np.arange(first, first + count), -np.arange(first, first + count)], axis=1)


@given(changes)
def test_it_holds_what_a_list_holds(changes):
    blocks, model, new = Blocks(2, np.int64, most=16), [], 0
    for kind, number in changes:
        if kind == "extend":
            rows = numbered(new, number)
            blocks.extend(rows)
            model += rows.tolist()
        elif model and kind == "replace":
            blocks[number % len(model)] = numbered(new, 1)[0]
            model[number % len(model)] = [new, -new]
        elif model:
            blocks.remove(number % len(model))
            model[number % len(model)] = model[-1]
            model.pop()
        new += 50

        assert len(blocks) == len(model)
        assert [row for _, part in blocks.parts() for row in part.T.tolist()] == model
        backwards = np.arange(len(model), dtype=np.intp)[::-1]
        assert blocks.at(backwards).tolist() == model[::-1]


def test_a_full_block_stays_where_it_is_however_many_rows_come():
    blocks = Blocks(2, np.int64, most=16)
    blocks.extend(numbered(0, 20))
    before = blocks.parts()
    for first in range(20, 200, 9):
        blocks.extend(numbered(first, 9))

    assert all(np.shares_memory(old, new) for (_, old), (_, new) in zip(before, blocks.parts(), strict=False))


def test_who_reads_sees_the_rows_that_there_were_while_others_come():
    blocks = Blocks(2, np.int64, most=16)
    blocks.extend(numbered(0, 10))
    seen = blocks.parts()
    blocks.extend(numbered(10, 50))

    assert [row for _, part in seen for row in part.T.tolist()] == numbered(0, 10).tolist()


def test_one_row_takes_no_room_for_a_block():
    blocks = Blocks(7, np.uint64)
    blocks.extend(np.ones((1, 7), dtype=np.uint64))

    ((_, part),) = blocks.parts()
    assert part.base.nbytes < 7 * 8 * 10 < BLOCK
