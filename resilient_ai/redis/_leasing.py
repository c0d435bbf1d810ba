"""Asks the server about shared quotas, several at a time, and passes on its answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio

from resilient_ai._core.event_loops import LoopUsages
from resilient_ai._core.wakeup import TaskWakeup

from ._quota_script import TAKE, arguments, grant_of
from ._transport import is_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resilient_ai._core.leasing import Ask
    from resilient_ai._core.sharing import Leased
    from resilient_ai._fleet.membership import Membership

_LOOK = 0.5  # seconds between two checks of all quotas, which give back what they do not use


class Leasing:
    """
    The questions about shared quotas over one connection.

    Args:
        prefix: The prefix of all keys of the fleet.
        membership: Knows which quotas there are, and which of them have a question.
        run_script: Runs a script on the server, with its keys and arguments.
    """

    def __init__(self, prefix: str, membership: Membership, run_script: Callable[..., Awaitable[Any]]) -> None:
        self._prefix, self._membership, self._run_script = prefix, membership, run_script
        self._begun: dict[Leased, str] = {}  # quotas that the server may be asked about, and their keys

    async def run(self) -> None:
        """Ask the questions that there are, until cancelled."""
        membership, wakeup = self._membership, TaskWakeup(LoopUsages().here())
        membership.wake_leasing_with(wakeup.wake)
        try:
            async with anyio.create_task_group() as tasks:
                look_at = 0.0
                while not membership.leaving:
                    wanting = membership.wanting()
                    if (now := time.monotonic()) >= look_at:
                        look_at, wanting = now + _LOOK, membership.leased()
                        live = set(wanting)
                        self._begun = {each: key for each, key in self._begun.items() if each in live}
                        for each in self._begun:
                            each.begin(membership.workers)
                    self._begin_new(wanting)
                    for leased in wanting:
                        if (ask := leased.ask()) is not None:
                            tasks.start_soon(self._carry, leased, ask)
                    with anyio.move_on_after(max(0.0, look_at - time.monotonic())):
                        await wakeup.called()
                await anyio.sleep_forever()  # until `farewell` ends this task
        finally:
            membership.wake_leasing_with(None)
            for leased in self._begun:
                leased.end()

    def _begin_new(self, leased: list[Leased]) -> None:
        for each in leased:
            if each not in self._begun:
                self._begun[each] = f"{self._prefix}rate:{self._membership.hashed(each.subject)}"
                each.begin(self._membership.workers)

    async def _carry(self, leased: Leased, ask: Ask) -> None:
        try:
            reply = await self._run_script(TAKE, (self._begun[leased],), *arguments(ask))
        except Exception as error:
            if not is_refusal(error):
                raise
            reply = None  # for example a damaged value: only this quota works without the server for a while
        if (grant := grant_of(reply, ask)) is None:
            self._membership.dropped()
        leased.answer(grant)

    async def farewell(self) -> None:
        """Give back what was not used."""
        for leased, key in list(self._begun.items()):
            if (ask := leased.give_back()) is not None:
                await self._run_script(TAKE, (key,), *arguments(ask))
