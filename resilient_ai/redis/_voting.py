"""Sends suspicions, answers and verdicts to the server."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from resilient_ai._core.event_loops import LoopUsages
from resilient_ai._core.wakeup import TaskWakeup

from ._scripts import DAY
from ._vote_messages import decision_of_row, decision_of_state, is_number, pairs_of, question_of_pair
from ._vote_scripts import ANSWER, JUDGE, SUSPECT

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from resilient_ai._fleet.membership import Membership
    from resilient_ai._fleet.votes import Ballot

    from ._scripts import Script

_TOGETHER = 0.02  # seconds for which failures are collected before they are sent
_SPREAD = 0.005  # seconds over which the answers of all workers are spread
# In ms, with push or polling: how long a question is open, and when half of the workers are enough.
_LIFE, _HALF = {True: 1500, False: 3000}, {True: 100, False: 1000}
_LOOKS = {True: (0.06, 0.06, 0.1, 0.2, 0.3, 0.5), False: (0.5, 0.5, 0.5, 0.6)}  # seconds until who asked looks again


class Voting:
    """
    The part of a connection that votes.

    Args:
        prefix: The prefix of every key.
        channel: Where decisions and questions are published.
        worker: This worker's random name.
        membership: Casts the votes.
        ask: Runs a script.
        rng: Source of jitter.
        push: Whether news is pushed.
    """

    def __init__(
        self,
        prefix: str,
        channel: str,
        worker: str,
        membership: Membership,
        ask: Callable[..., Awaitable[Any]],
        rng: random.Random,
        *,
        push: bool,
    ) -> None:
        self._prefix, self._channel, self._worker = prefix, channel, worker
        self._membership, self._votes = membership, membership.votes
        self._ask, self._rng, self._push = ask, rng, push
        self._known: int | None = None  # workers, if a question has shown that some are gone

    # -- the tasks

    async def run(self, start: Callable[[Callable[[], Awaitable[None]]], object]) -> None:
        """Vote until cancelled; `start` runs something at the same time, whose error ends the connection."""
        usages = LoopUsages()
        answering, suspecting = TaskWakeup(usages.here()), TaskWakeup(usages.here())
        self._votes.wake_with(answering.wake, suspecting.wake)
        start(partial(self._suspect_all, suspecting, start))
        try:
            while True:
                while (verdict := self._votes.next_verdict()) is not None:
                    state = "o" if verdict.opened else "c"
                    left = math.ceil(self._votes.seconds_until(verdict.until) * 1000)
                    code, row = await self._ask(
                        JUDGE[self._push], (self._key("states"), self._key("ver")),
                        self._channel, verdict.key, self._worker, verdict.epoch, DAY,
                        state, left, verdict.probes,
                    )  # fmt: skip
                    decision = decision_of_row(row)
                    if decision is None:
                        raise ValueError("the server's answer is no decision")
                    self._votes.verdict_told(verdict, decision, accepted=code == 2)
                for ballot, question in self._votes.take_questions():
                    await anyio.sleep(_SPREAD * self._rng.random())
                    await self._answer(ballot, question)
                await answering.called()
        finally:
            self._votes.wake_with(None, None)

    async def _suspect_all(self, wakeup: TaskWakeup, start: Callable[[Callable[[], Awaitable[None]]], object]) -> None:
        while True:
            await wakeup.called()
            await anyio.sleep(_TOGETHER)
            for ballot in self._votes.take_suspicions():
                began = anyio.current_time()
                code, *rest = await self._run(
                    SUSPECT, ballot, round(ballot.share * 1000), math.ceil(ballot.period * 1000), _LIFE[self._push]
                )
                self._votes.suspicion_told(ballot.key, rest[0] if code == 2 else 0, anyio.current_time() - began)
                if code == 2:
                    start(partial(self._look_again, ballot.key, rest[0]))

    async def _look_again(self, key: str, question: int) -> None:
        """Answer one's own question again, since after a while fewer answers are enough."""
        for wait in _LOOKS[self._push]:
            await anyio.sleep(wait)
            if not self._votes.is_open(key, question):
                return
            if await self._answer(self._votes.ballot(key), question) != 3:
                return
        self._votes.over(key)

    async def _answer(self, ballot: Ballot, question: int) -> int:
        code, *rest = await self._run(ANSWER, ballot, question, _HALF[self._push])
        if code == 3:
            self._known = rest[0]
        elif code == 4:
            self._votes.over(ballot.key)
        return int(code)

    async def _run(self, script: dict[bool, Script], ballot: Ballot, *arguments: float) -> Any:
        keys = [self._key(each) for each in ("states", "ver", "workers")]
        keys += [self._key(f"{each}:{ballot.key}") for each in ("reports", "question", "answers")]
        workers = self._membership.reachable if self._known is None else self._known
        answer = await self._ask(
            script[self._push], (*keys, self._key("asks")),
            self._channel, ballot.key, self._worker, ballot.epoch, DAY, *arguments, workers, *ballot.counts,
        )  # fmt: skip
        if answer[0] == 1 and (decision := decision_of_row(answer[1])) is not None:
            self._votes.decided(decision)
        return answer

    # -- receiving

    def synced(self, now: int, states: object, asks: object, *, first: bool) -> None:
        """Take over what the server has stored, and its time; the number of workers is learnt anew."""
        self._known = None
        if not is_number(now):
            raise ValueError("the server's answer has no valid time")
        self._votes.server_time(now)
        for key, value in pairs_of(states):
            decision = decision_of_state(key, value, now)
            if decision is None or not self._votes.decided(decision, first=first):
                self._membership.dropped()
        if self._push:
            return  # questions arrive by themselves
        for key, number in pairs_of(asks):
            if (question := question_of_pair(key, number)) is None:
                self._membership.dropped()
            else:
                self._votes.ask(question.key, question.number)

    def _key(self, name: str) -> str:
        return self._prefix + name
