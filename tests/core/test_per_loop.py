"""State that belongs to one event loop."""

from __future__ import annotations

import asyncio  # noqa: TID251 - loops of our own
import gc
import threading

from resilient_ai._core.per_loop import PerLoop


def test_each_loop_has_its_value_and_keeps_it():
    made = []
    values = PerLoop(lambda loop: made.append(loop) or len(made))
    one, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        assert [values.of(loop) for loop in (one, other, one, other, other)] == [1, 2, 1, 2, 2]
        assert made == [one, other]
        assert values.latest == 2
    finally:
        one.close()
        other.close()


def test_the_value_of_a_closed_loop_is_forgotten_once_when_another_loop_comes():
    forgotten = []
    values = PerLoop(lambda _loop: object(), forgotten.append)
    closed, other, third = (asyncio.new_event_loop() for _ in range(3))
    gone = values.of(closed)
    closed.close()
    try:
        assert list(values.live()) == []
        assert forgotten == []
        kept = values.of(other)
        values.of(third)
        assert forgotten == [gone]
        assert kept in list(values.live())
    finally:
        other.close()
        third.close()


def test_a_loop_that_nobody_else_refers_to_is_not_kept():
    forgotten = []
    values = PerLoop(lambda _loop: "value", forgotten.append)
    loop = asyncio.new_event_loop()
    values.of(loop)
    loop.close()
    del loop
    gc.collect()
    other = asyncio.new_event_loop()
    try:
        values.of(other)
    finally:
        other.close()

    assert forgotten == ["value"]


def test_threads_with_a_loop_each_never_get_each_others_value():
    values = PerLoop(id)
    wrong = []

    def run() -> None:
        loop = asyncio.new_event_loop()
        wrong.extend(found for _ in range(500) if (found := values.of(loop)) != id(loop))
        loop.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
