"""Checked by mypy and pyright, never run: a deadline swallows nothing, so that code after its block is not needed."""

from typing import assert_type

from resilient_ai import deadline, time_left


async def answer() -> str:
    with deadline(15):
        return "answer"


def plainly(patience: float | None) -> float | None:
    with deadline(patience) as bound:
        assert_type(bound, deadline)
        assert_type(time_left(), float | None)
        return time_left()


deadline()  # type: ignore[call-arg]
deadline("15")  # type: ignore[arg-type]
time_left() + 1  # type: ignore[operator]
