"""
Clients that belong to an event loop, and are closed with it.

A client's connections belong to the loop that opened them, but the object that uses the client outlives loops, for
example if a task queue or a web view calls `asyncio.run` repeatedly. A loop that ends closes its async generators
first, so one generator for each loop waits for that and closes the clients. A loop closed by hand without
`shutdown_asyncgens` gives no notice; its clients are dropped when another loop asks for one.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import anyio

from .per_loop import PerLoop
from .tasks import current_loop


class ClientOwner(Protocol):
    """An object that uses a client."""

    async def aclose(self) -> None:
        """Close the client of the running loop."""
        ...


class _LoopClients:
    """The clients of one loop, by owner; the client goes when its owner does."""

    __slots__ = ("clients", "keeper")

    def __init__(self, _loop: object) -> None:
        self.clients: weakref.WeakKeyDictionary[ClientOwner, Any] = weakref.WeakKeyDictionary()
        self.keeper: AsyncGenerator[None, None] | None = None


_loops = PerLoop(_LoopClients)


def client_of(owner: ClientOwner) -> Any:
    """The client that an owner has in the running loop; None without one."""
    return _loops.of(current_loop()).clients.get(owner)


async def keep(owner: ClientOwner, client: Any) -> None:
    """Set the client of an owner in the running loop, until `drop` or the loop's end."""
    here = _loops.of(current_loop())
    here.clients[owner] = client
    if here.keeper is None:
        here.keeper = _close_at_the_end(here)
        await anext(here.keeper)  # the first step registers it with the loop; then it stays suspended


def drop(owner: ClientOwner) -> Any:
    """Remove and return the client of an owner in the running loop; None if there is none."""
    return _loops.of(current_loop()).clients.pop(owner, None)


async def close_clients() -> None:
    """
    Close every client of the running loop; owners make new ones when they need them.

    All clients are closed even if closing one fails; its error is raised at the end.
    """
    failed: Exception | None = None
    for owner in list(_loops.of(current_loop()).clients):
        try:
            await owner.aclose()
        except Exception as error:  # noqa: BLE001 - raised below
            failed = failed or error
    if failed is not None:
        raise failed


async def _close_at_the_end(here: _LoopClients) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        here.keeper = None
        with anyio.CancelScope(shield=True):
            await close_clients()
