"""The matrix of a partition: it finds what a plain product finds, whatever was put, replaced and removed before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilient_ai.similar import Entry, MemoryStore
from resilient_ai.similar._matrix import Matrix
from resilient_ai.similar._memory import Partition

RNG = np.random.default_rng(7)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def questions(count, dimensions=64):
    """Vectors in clusters, as questions are."""
    centres = RNG.normal(size=(max(1, count // 20), dimensions))
    return unit(centres[RNG.integers(len(centres), size=count)] + 0.35 * RNG.normal(size=(count, dimensions)))


@pytest.mark.parametrize("count", [1, 100, 3_999, 6_000])
def test_it_finds_what_a_plain_product_finds(count):
    rows = questions(count)
    matrix = Matrix(64)
    for row in rows:
        matrix.append(row)
    for wanted in rows[: min(count, 50)]:
        products = rows @ wanted
        found = matrix.nearest(wanted, 0.9, 8)
        expected = np.sort(products[products >= 0.9])[::-1][:8]

        assert [similarity for similarity, _ in found] == pytest.approx(expected.tolist(), abs=1e-5)
        assert all(products[row] == pytest.approx(similarity, abs=1e-5) for similarity, row in found)


def test_rows_put_and_removed_after_the_prefilter_was_made_are_seen():
    rows = questions(5_000)
    matrix = Matrix(64)
    for row in rows:
        matrix.append(row)
    new = unit(RNG.normal(size=64))
    matrix.nearest(new, 0.9, 1)
    matrix.append(new)
    assert matrix.nearest(new, 0.99, 1)[0][1] == 5_000
    matrix.replace(3, -new)
    matrix.remove(5_000)

    assert matrix.nearest(new, 0.99, 1) == []
    assert matrix.nearest(-new, 0.99, 1)[0][1] == 3
    matrix.remove(3)
    assert matrix.nearest(-new, 0.99, 1) == []
    assert matrix.nearest(rows[4_999], 0.99, 1)[0][1] == 3


def test_a_vector_of_another_length_is_no_vector():
    matrix = Matrix(4)
    matrix.append(unit(np.ones(4)))
    matrix.append(np.ones(7, dtype=np.float32))

    assert [row for _, row in matrix.nearest(unit(np.ones(4)), 0.1, 9)] == [0]
    assert matrix.nearest(unit(np.ones(7)), 0.1, 9) == []


class MemoryMachine(RuleBasedStateMachine):
    """A store beside a plain dict of what must be in it."""

    def __init__(self):
        super().__init__()
        self.store = MemoryStore(max_entries=6)
        self.model: dict[tuple[str, str], Entry] = {}
        self.order: dict[str, list[tuple[str, str]]] = {}

    @rule(owner=st.sampled_from("AB"), partition=st.sampled_from("xy"), key=st.integers(0, 5), vectors=st.booleans())
    def put(self, owner, partition, key, vectors):
        vector = unit(np.eye(6)[key] + 0.1)
        partition = owner + partition
        entry = Entry(partition, owner, str(key), {"e": vector} if vectors else {}, f'"{key}"', 1.0)
        self.store.put([entry])
        place = (partition, str(key))
        order = self.order.setdefault(owner, [])
        if place in order:
            order.remove(place)
        order.append(place)
        self.model[place] = entry
        while len(self.model) > 6:
            largest = max(self.order.values(), key=len)
            del self.model[largest.pop(0)]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def touch(self, data):
        place = data.draw(st.sampled_from(sorted(self.model)))
        entry = self.model[place]
        self.store.touch(entry)
        self.order[entry.owner].remove(place)
        self.order[entry.owner].append(place)

    @rule(owner=st.sampled_from("AB"))
    def forget(self, owner):
        gone = [place for place, entry in self.model.items() if entry.owner == owner]

        assert self.store.forget(owner) == len(gone)
        for place in gone:
            del self.model[place]
        self.order.pop(owner, None)

    @invariant()
    def exactly_what_was_put_and_not_pushed_out_is_there(self):
        assert len(self.store) == len(self.model)
        assert self.store.nbytes == sum(entry.size for entry in self.model.values())
        for owner in "AB":
            for partition in (owner + "x", owner + "y"):
                for key in map(str, range(6)):
                    assert self.store.exact(partition, key) is self.model.get((partition, key))
                    vector = unit(np.eye(6)[int(key)] + 0.1)
                    found = [entry for _, entry in self.store.nearest(partition, "e", vector, 0.99, 9)]
                    expected = self.model.get((partition, key))
                    assert found == ([expected] if expected is not None and expected.vectors else [])


MemoryMachine.TestCase.settings = settings(stateful_step_count=30)
TestMemory = MemoryMachine.TestCase


def test_a_partition_can_learn_of_an_embedder_late():
    partition = Partition()
    partition.put(Entry("p", "o", "1", {}, '""', 1.0))
    partition.put(Entry("p", "o", "2", {"e": unit(np.ones(3))}, '""', 1.0))

    assert [entry.key for _, entry in partition.nearest("e", unit(np.ones(3)), 0.5, 9)] == ["2"]


def test_one_answer_larger_than_the_bound_does_not_push_out_everything_for_nothing():
    store = MemoryStore(max_bytes=10_000)
    store.put([Entry("p", "o", str(n), {}, '"x"', 1.0) for n in range(5)])
    store.put([Entry("p", "o", "big", {}, "x" * 20_000, 1.0)])

    assert len(store) == 5
