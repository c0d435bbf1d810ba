"""
Record when SDKs were imported.

The first use of an SDK imports it, which takes seconds. Calls that run meanwhile wait for the program, not for their
provider, so their durations tell nothing about the provider.
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

_spans: list[tuple[float, float]] = []  # when imports began and ended; about one for each SDK
_lock = threading.Lock()
_under_way = 0
_began = 0.0


def _start_over() -> None:
    global _lock, _under_way
    _lock, _under_way = threading.Lock(), 0


in_child(_start_over)


@contextmanager
def importing() -> Iterator[None]:
    """A block that imports an SDK; the first caller does it, and the others wait."""
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
        module: Name of the module.
        plain: Whether plain code waits for it; otherwise it is imported in a thread, so that other tasks and deadlines
            of the event loop go on meanwhile.
    """
    with importing():
        if plain:
            importlib.import_module(module)
        else:
            await anyio.to_thread.run_sync(importlib.import_module, module)


def met_an_import(began: float, ended: float) -> bool:
    """Whether an SDK was being imported at any time between these two times, in real monotonic seconds."""
    return any(began < end and start < ended for start, end in _spans)
