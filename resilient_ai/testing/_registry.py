"""An isolated registry for a test, and a list of its events."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resilient_ai._core.modes import mode
from resilient_ai._core.public import public
from resilient_ai._core.state_store import default_registry, set_default_registry
from resilient_ai._registry import Registry

from ._clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_ai._core.clock import Clock
    from resilient_ai._core.events import Event


@public("testing")
@contextmanager
def isolated_registry(*, clock: Clock | None = None, seed: int = 0) -> Iterator[Registry]:
    """
    A new registry that decorators without `registry=` use inside the block.

    Functions decorated before, for example at import, use it too: inside they start with new states, and with its
    clock, random numbers and listeners. Afterwards everything is as before.

    Args:
        clock: The clock. Default a `VirtualClock`.
        seed: Seed of the registry's random numbers, so that jitter is reproducible. Default 0.
    """
    fresh = Registry(clock=clock if clock is not None else VirtualClock(), rng=random.Random(seed), listeners=())  # noqa: S311
    before = set_default_registry(fresh)
    try:
        with mode(before, stand_in=fresh):
            yield fresh
    finally:
        set_default_registry(before)


@public("testing")
@contextmanager
def capture_events(registry: Registry | None = None) -> Iterator[list[Event]]:
    """A list that fills with the events of a registry; default: the one that decorators use at present."""
    events: list[Event] = []
    unsubscribe = (registry if registry is not None else default_registry()).subscribe(events.append)
    try:
        yield events
    finally:
        unsubscribe()
