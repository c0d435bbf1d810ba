"""Health checks beside the calls: a resting endpoint is asked how it does, and comes back without a caller's risk."""

from __future__ import annotations

import inspect
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

from resilient_ai._core.tasks import current_loop, is_closed, spawn

from .health import EndpointState

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_ai._core.clock import Clock
    from resilient_ai._core.state_store import StateStore

    from .strategy import Lane

CHECK_SECONDS = 10.0  # a check that takes longer has failed

_tasks: set[object] = set()  # asyncio itself holds tasks only weakly


def watch_over(lane: Lane, interval: float, registry: StateStore) -> None:
    """
    Check a resting endpoint once its rest is over, and after every further rest until it is up.

    The task lives in this event loop and ends with it; a call from another loop begins anew.
    """
    handle, check = lane.handle, lane.check
    if check is None or handle.health.state is not EndpointState.RESTING:
        return
    if handle.watched_in is not None and not is_closed(handle.watched_in):
        return
    loop = handle.watched_in = current_loop()

    def ended() -> None:
        handle.watched_in = None
        _tasks.discard(task)

    async def run() -> None:
        await _watch(lane, partial(check, lane.endpoint), interval, registry.clock)

    # A context of its own: no variable of the caller whose failure began this is kept or seen.
    task = spawn(loop, run, Context(), ended)
    _tasks.add(task)


async def _watch(lane: Lane, check: Callable[[], Any], interval: float, clock: Clock) -> None:
    health = lane.health
    while health.state is EndpointState.RESTING:
        if rest := health.resting_for(clock.now()):
            await clock.sleep(rest)
        else:  # asked anew after every sleep: it may have come back by then, or rest longer
            lane.handle.checked(await _passes(check, clock), clock.now(), interval)


async def _passes(check: Callable[[], Any], clock: Clock) -> bool:
    try:
        with clock.move_on_after(CHECK_SECONDS):
            answer = check()
            if inspect.isawaitable(answer):
                answer = await answer
            return answer is not False
    except Exception:  # noqa: BLE001 - whatever it raises, the endpoint is not well
        return False
    return False
