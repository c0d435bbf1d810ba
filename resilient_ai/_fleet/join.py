"""Join a fleet for the duration of a block, with one task that communicates with the server."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager
from threading import Thread
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio.from_thread import BlockingPortal

from resilient_ai._core.public import public

from .membership import Membership

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from resilient_ai._core.state_store import StateStore

    from .stats import FleetStats


class FleetStore(Protocol):
    """What a registry requires of a store."""

    @property
    def namespace(self) -> str:
        """The fleet's name."""
        ...

    @property
    def share(self) -> Collection[str]:
        """What workers share: some of "circuits", "facts" and "rate_limits"."""
        ...

    def check(self, *, in_thread: bool) -> None:
        """Raise `ValueError` if it cannot run in a thread of its own, or in this event loop."""

    async def run(self, membership: Membership) -> None:
        """Communicate with the server until cancelled; raises nothing else, in spite of errors of the server."""
        ...


_GOODBYE = 1.0  # most seconds for leaving


@public("types")
class Fleet:
    """A registry's place in a fleet."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    def stats(self) -> FleetStats:
        """The present numbers."""
        return self._membership.stats()

    def __repr__(self) -> str:
        if self._membership.ended_by_fork:
            return "<Fleet not joined: this process was forked from one that had joined; join again here>"
        return f"<Fleet {shown(self.stats())}>"


class Join:
    """
    A context manager, plain or async, in which the registry is in the fleet.

    In a plain `with`, the task runs in a thread of its own. A child that is forked inside is not in the fleet: the
    thread and the connection belong to its parent, and leaving the block does nothing in the child.
    """

    def __init__(self, registry: StateStore, store: FleetStore) -> None:
        self._registry = registry
        self._store = store
        self._left: ExitStack | None = None
        self._running: AbstractAsyncContextManager[Fleet] | None = None

    def _enter(self, *, in_thread: bool) -> Membership:
        if self._registry.sharing is not None:
            raise ValueError("this registry has joined a fleet already; leave that one first")
        self._store.check(in_thread=in_thread)
        self._registry.sharing = membership = Membership(self._store.namespace, self._registry, self._store.share)
        return membership

    def _leave(self, membership: Membership) -> None:
        if self._registry.sharing is membership:  # a forked child may have joined again
            self._registry.sharing, self._registry.workers = None, 1
            for leased in membership.leased():
                leased.leave()

    async def __aenter__(self) -> Fleet:
        running = self._run()
        fleet = await running.__aenter__()
        self._running = running
        return fleet

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        running, self._running = self._running, None
        return None if running is None else await running.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[Fleet]:
        membership = self._enter(in_thread=False)
        raised: BaseException | None = None
        connection = _Connection(self._store, membership)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.run)
                try:
                    yield Fleet(membership)
                except anyio.get_cancelled_exc_class():
                    raise
                except BaseException as error:  # noqa: BLE001 - raised below, alone: of a group, `sys.exit` has no code
                    raised = error
                finally:
                    await connection.stop()
        finally:
            self._leave(membership)
        if raised is not None:
            raise raised

    def __enter__(self) -> Fleet:
        membership = self._enter(in_thread=True)
        with ExitStack() as stack:
            stack.callback(self._leave, membership)
            stack.callback(_InThread(self._store, membership).stop)
            self._left = stack.pop_all()
        return Fleet(membership)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left, self._left = self._left, None
        if left is not None:
            left.__exit__(kind, error, trace)


class _Connection:
    """The task of the connection. It is not cancelled from outside, so that it can sign off."""

    def __init__(self, store: FleetStore, membership: Membership) -> None:
        self._store, self._membership = store, membership
        self._scope, self._ended = anyio.CancelScope(shield=True), anyio.Event()

    async def run(self) -> None:
        try:
            with self._scope:
                await self._store.run(self._membership)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Sign off, within a second. A forked child does not: the connection belongs to its parent."""
        self._membership.leave()
        if not self._membership.ended_by_fork:
            with anyio.move_on_after(_GOODBYE, shield=True):
                await self._ended.wait()
        self._scope.cancel()


class _InThread:
    """
    A connection with an event loop and a thread of its own, which run when this returns.

    `start_blocking_portal` cannot be used: the end of its generator waits for the thread, which a forked child does not
    have.
    """

    def __init__(self, store: FleetStore, membership: Membership) -> None:
        self._store, self._membership = store, membership
        self._begun: Future[tuple[BlockingPortal, _Connection]] = Future()
        self._ended: Future[None] = Future()
        Thread(target=self._work, name="resilient_ai.fleet", daemon=True).start()
        self._portal, self._connection = self._begun.result()

    def _work(self) -> None:
        try:
            anyio.run(self._serve, backend="asyncio")
        except BaseException as error:  # noqa: BLE001 - raised where the thread was started, or is stopped
            (self._ended if self._begun.done() else self._begun).set_exception(error)
        else:
            self._ended.set_result(None)

    async def _serve(self) -> None:
        async with BlockingPortal() as portal:
            connection = _Connection(self._store, self._membership)
            self._begun.set_result((portal, connection))
            try:
                await connection.run()
            finally:
                await portal.sleep_until_stopped()

    def stop(self) -> None:
        """Sign off, and wait for the thread to end."""
        if self._membership.ended_by_fork:
            return
        self._portal.call(self._connection.stop)
        self._portal.call(self._portal.stop)
        self._ended.result()


def shown(stats: FleetStats) -> str:
    """The numbers in one line."""
    if not stats.connected:
        why = f" ({stats.last_error})" if stats.last_error else ""
        return f"{stats.namespace}: alone for {stats.away_for:.1f} s{why}"
    trip = "" if stats.round_trip is None else f", {stats.round_trip * 1000:.1f} ms"
    workers = "1 worker" if stats.workers == 1 else f"{stats.workers} workers"
    return f"{stats.namespace}: {workers}, {'push' if stats.push else 'polling'}{trip}"
