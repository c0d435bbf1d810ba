"""The task of a registry that talks to the server. Whatever the server does, it continues and raises nothing."""

from __future__ import annotations

import math
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from resilient_ai._core.clock import NEVER
from resilient_ai._core.event_loops import LoopUsages
from resilient_ai._core.wakeup import TaskWakeup
from resilient_ai._fleet.votes import Decision

from ._leasing import Leasing
from ._messages import News, news_of, news_of_row
from ._scripts import DAY, FACT, HELLO, SYNC, millis
from ._transport import is_refusal
from ._vote_messages import Question
from ._voting import Voting

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from resilient_ai._fleet.membership import Membership

    from ._scripts import Script
    from ._transport import Transport

_WORKER_LIFE = 15.0  # seconds without a heartbeat after which a worker is not counted any more
_POLLING = 1.0  # seconds between two requests for news if they are not pushed
_OPENING = 3.5  # command timeouts that opening both connections may take, in several round trips
# Seconds before a new connection is tried. An attempt that fails although the server is back lasts for 3.5 timeouts,
# and the next one has to succeed within 4 s of that return.
_SOONEST, _LATEST = 0.1, 1.5
_HELLOS, _HELLO_WAIT = 5, 0.2  # how often, and for how many seconds each time, to wait for the own hello
_PUSH_AGAIN = 600.0  # seconds before push is tried again after it did not work
_SILENCE = 6.0  # heartbeats without a message after which a hello tests whether messages still arrive


class FleetTask:
    """
    Synchronizes a membership with the server.

    Args:
        connect: Connects to the server, given the seconds that a command may take at first.
        namespace: The fleet's name.
        membership: Holds what to send and takes what arrives.
        push: Whether news may be pushed.
        sync_interval: Seconds between heartbeats.
        timeout: Most seconds for a command.
        rng: Source of jitter.
        max_open: Seconds for which the fleet is believed without a failure of this worker's own.
    """

    def __init__(
        self,
        connect: Callable[[float], AbstractAsyncContextManager[Transport]],
        namespace: str,
        membership: Membership,
        *,
        push: bool,
        sync_interval: float,
        timeout: float,
        rng: random.Random,
        max_open: float,
    ) -> None:
        self._connect, self._membership, self._rng = connect, membership, rng
        self._sync_interval, self._timeout = sync_interval, timeout
        membership.votes.longest = max_open
        self._prefix = prefix = f"rai1:{{{namespace}}}:"
        self._facts, self._ver, self._workers = prefix + "facts", prefix + "ver", prefix + "workers"
        self._synced = self._facts, self._ver, self._workers, prefix + "states", prefix + "asks"
        self._channel = prefix + "news"
        self._worker = secrets.token_hex(8)  # not from `rng`: two workers with one seed would count as one
        self._push_wanted, self._no_push_before = push, 0.0
        self._push = False
        self._heard_at = self._greeted_at = NEVER
        self._ver_seen = -1
        self._failure: BaseException | None = None
        self._refused = False  # whether the server's last answer refused a command, for example as its memory is full

    async def run(self) -> None:
        """Connect, and reconnect, until cancelled or about to leave."""
        wait = _SOONEST
        while not self._membership.leaving:
            began, error = time.monotonic(), None
            try:
                await self._connection()
            except BaseExceptionGroup as group:
                if (left := group.split(Exception)[1]) is not None:  # a cancellation, or the end of the program
                    raise left from None
                error = _first(group)
            except Exception as raised:  # noqa: BLE001 - a server's trouble is nobody's error
                error = raised
            if self._membership.leaving:
                return
            error = error or ConnectionError("the connection has ended")
            self._refused = is_refusal(error)
            self._membership.lost(error)
            wait = _SOONEST if time.monotonic() - began > 5 * _LATEST else wait
            await anyio.sleep(wait * (0.5 + 0.75 * self._rng.random()))
            wait = min(_LATEST, 2 * wait)

    async def _connection(self) -> None:
        self._failure = None
        patience = _OPENING * self._timeout
        with anyio.fail_after(patience) as opening:
            async with self._connect(patience) as transport:
                if self._refused:  # the subscription needs a connection of its own, and would be useless
                    await self._heartbeat(transport, self._ver_seen)
                await self._serve(transport, opening)
        if self._failure is not None:
            raise self._failure

    async def _serve(self, transport: Transport, opening: anyio.CancelScope) -> None:
        async with anyio.create_task_group() as tasks:

            async def beside(work: Callable[[], Awaitable[None]]) -> None:
                try:
                    await work()
                except Exception as error:  # noqa: BLE001 - an error of any of the tasks ends the connection
                    self._failure = self._failure or error
                    if not self._membership.leaving:  # at once: closing both connections takes a while
                        self._membership.lost(self._failure)
                    tasks.cancel_scope.cancel()

            async def guarded(work: Callable[[], Awaitable[None]]) -> None:
                await beside(work)
                tasks.cancel_scope.cancel()

            self._push = await self._try_push(transport, tasks, guarded)
            voting = Voting(
                self._prefix, self._channel, self._worker, self._membership,
                partial(self._ask, transport), self._rng, push=self._push,
            )  # fmt: skip
            await self._sync(transport, voting, first=True)
            if not self._push and time.monotonic() >= self._no_push_before:  # only push does not work
                self._no_push_before = time.monotonic() + _PUSH_AGAIN
            opening.deadline, transport.timeout = math.inf, self._timeout
            self._membership.connected(push=self._push)
            wakeup = TaskWakeup(LoopUsages().here())
            leasing = Leasing(self._prefix, self._membership, partial(self._ask, transport))
            tasks.start_soon(guarded, leasing.run)
            tasks.start_soon(guarded, partial(self._tell_all, transport, wakeup, leasing))
            tasks.start_soon(guarded, partial(self._sync_often, transport, voting))
            tasks.start_soon(guarded, partial(voting.run, lambda work: tasks.start_soon(beside, work)))

    async def _ask(self, transport: Transport, script: Script, keys: tuple[str, ...], *arguments: str | float) -> Any:
        began = time.monotonic()
        answer = await transport.run(script, keys, *arguments)
        self._membership.took(time.monotonic() - began)
        return answer

    # -- receiving

    async def _try_push(
        self,
        transport: Transport,
        tasks: Any,
        guarded: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]],
    ) -> bool:
        """Wait for this worker's own hello, which shows that push works: rights or a proxy may prevent it."""
        if not self._push_wanted or time.monotonic() < self._no_push_before:
            return False
        heard, scope = anyio.Event(), anyio.CancelScope()

        async def listening() -> None:
            try:
                with scope:
                    await transport.listen(self._channel, partial(self._hear, heard))
            except Exception:
                if heard.is_set():
                    raise
            if heard.is_set():
                raise ConnectionError("the subscription has ended")
            await anyio.sleep_forever()  # the other tasks continue without push

        tasks.start_soon(guarded, listening)
        for _ in range(_HELLOS):
            try:
                await self._ask(transport, HELLO, (self._facts,), self._channel, self._worker)
            except Exception as error:
                if not is_refusal(error):
                    raise
                break  # no rights on channels
            with anyio.move_on_after(_HELLO_WAIT):
                await heard.wait()
                return True
        scope.cancel()
        return False

    async def _check_push(self, transport: Transport) -> None:
        """
        Raise `ConnectionError` if messages do not arrive any more.

        A router on the way to the server silently drops a connection on which nothing has come for some minutes. One
        worker's hello is a message to all workers, so a quiet fleet sends only a few of them.
        """
        now = time.monotonic()
        if self._greeted_at > self._heard_at:
            if now - self._greeted_at >= self._timeout:
                raise ConnectionError("messages of the server do not arrive any more")
        elif now - self._heard_at >= _SILENCE * self._sync_interval:
            self._greeted_at = now
            await self._ask(transport, HELLO, (self._facts,), self._channel, self._worker)

    def _hear(self, heard: anyio.Event, message: object) -> None:
        self._heard_at = time.monotonic()
        news = news_of(message)
        if isinstance(news, str):
            if news == self._worker:
                heard.set()
        elif isinstance(news, Question):
            self._membership.votes.ask(news.key, news.number)
        elif isinstance(news, Decision):
            if not self._membership.votes.decided(news):
                self._membership.dropped()
        else:
            self._hear_fact(news)

    def _hear_fact(self, news: News | None) -> None:
        if news is None:
            self._membership.dropped()
        elif news.by != self._worker:
            self._membership.heard(news.key, news.error_type, news.seconds, confirmed=news.confirmed)

    # -- sending

    async def _tell_all(self, transport: Transport, wakeup: TaskWakeup, leasing: Leasing) -> None:
        membership = self._membership
        membership.wake_with(wakeup.wake)
        try:
            while True:
                while (what := membership.next_to_tell()) is not None and not membership.leaving:
                    fact, waited = what.fact, membership.seconds_since(what.since)
                    kind = "" if fact is None else fact.error_type.value
                    alone = 0 if fact is None else millis(fact.alone - waited)
                    confirmed = 0 if fact is None else millis(fact.confirmed - waited)
                    if fact is None or alone > 0:
                        await self._ask(
                            transport, FACT[self._push], (self._facts, self._ver),
                            self._channel, what.key, self._worker, kind, alone, confirmed, DAY,
                        )  # fmt: skip
                    membership.told(what)
                if membership.leaving:
                    await leasing.farewell()
                    await self._ask(transport, SYNC, self._synced, self._worker, 0, 0, 1)
                    return
                await wakeup.called()
        finally:
            membership.wake_with(None)

    async def _sync_often(self, transport: Transport, voting: Voting) -> None:
        while True:
            pause = self._sync_interval if self._push else min(_POLLING, self._sync_interval)
            await anyio.sleep(pause * (0.8 + 0.4 * self._rng.random()))
            await self._sync(transport, voting)
            if self._push:
                await self._check_push(transport)

    async def _heartbeat(self, transport: Transport, seen: int) -> Any:
        return await self._ask(transport, SYNC, self._synced, self._worker, millis(_WORKER_LIFE), seen, 0)

    async def _sync(self, transport: Transport, voting: Voting, *, first: bool = False) -> None:
        workers, ver, now, rows, states, asks = await self._heartbeat(transport, -1 if first else self._ver_seen)
        voting.synced(now, states, asks, first=first)
        for row in rows:
            self._hear_fact(news_of_row(row))
        if ver < self._ver_seen or (first and self._ver_seen >= 0):
            self._membership.tell_again()  # the server may have lost its data
        self._ver_seen = ver
        self._membership.counted(workers)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
