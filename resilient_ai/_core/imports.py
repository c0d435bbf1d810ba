"""
When an SDK was being imported.

The first use of an SDK imports it, which takes seconds. Calls that run meanwhile wait for the program, not for their
provider, so their times say nothing about it.
"""

from __future__ import annotations

import importlib
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from .forks import in_child

if TYPE_CHECKING:
    from collections.abc import Iterator

_spans: list[tuple[float, float]] = []  # when an import began and ended; one for each SDK, or nearly
_lock = threading.Lock()
_under_way = 0
_began = 0.0


def _start_over() -> None:
    global _lock, _under_way
    _lock, _under_way = threading.Lock(), 0


in_child(_start_over)


@contextmanager
def importing() -> Iterator[None]:
    """An SDK is imported in this block, by whoever comes first; the others wait for that."""
    global _under_way, _began
    with _lock:
        if _under_way == 0:
            _began = time.monotonic()
        _under_way += 1
    try:
        yield
    finally:
        with _lock:
            _under_way -= 1
            if _under_way == 0:
                _spans.append((_began, time.monotonic()))


async def imported(module: str, *, plain: bool) -> None:
    """
    Import an SDK, which takes seconds.

    Args:
        module: Its name.
        plain: Whether plain code waits for it; else it is imported in a thread, so that the event loop's other tasks
            and deadlines go on meanwhile.
    """
    with importing():
        if plain:
            importlib.import_module(module)
        else:
            await anyio.to_thread.run_sync(importlib.import_module, module)


def met_an_import(began: float, ended: float) -> bool:
    """Whether an SDK was being imported at any time between these two, in seconds of the machine's monotonic clock."""
    return any(began < end and start < ended for start, end in _spans)
