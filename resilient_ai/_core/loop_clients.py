"""
Clients that belong to an event loop, and are closed with it.

A client's connections belong to the loop that opened them, while the object that uses it outlives loops: one
`asyncio.run` after another, as a task queue or a web view makes them. A loop that ends closes its async generators
first, so one generator for each loop waits for that and closes the clients. A loop that is closed by hand without
`shutdown_asyncgens` never says so; its clients are dropped when another loop asks for one.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import anyio

from .per_loop import PerLoop
from .tasks import current_loop


class ClientOwner(Protocol):
    """Whoever uses a client."""

    async def aclose(self) -> None:
        """Close the client of the running loop."""
        ...


class _LoopClients:
    """The clients of one loop, by owner; an owner that is gone takes its client along."""

    __slots__ = ("clients", "keeper")

    def __init__(self, _loop: object) -> None:
        self.clients: weakref.WeakKeyDictionary[ClientOwner, Any] = weakref.WeakKeyDictionary()
        self.keeper: AsyncGenerator[None, None] | None = None


_loops = PerLoop(_LoopClients)


def client_of(owner: ClientOwner) -> Any:
    """The client that an owner has in the running loop; None without one."""
    return _loops.of(current_loop()).clients.get(owner)


async def keep(owner: ClientOwner, client: Any) -> None:
    """Let `client` be the one that an owner has in the running loop, until `drop` or the loop's end."""
    here = _loops.of(current_loop())
    here.clients[owner] = client
    if here.keeper is None:
        here.keeper = _close_at_the_end(here)
        await anext(here.keeper)  # its first step tells the loop about it; it stays suspended there


def drop(owner: ClientOwner) -> Any:
    """Take the client of the running loop away from its owner; None if it has none there."""
    return _loops.of(current_loop()).clients.pop(owner, None)


async def close_clients() -> None:
    """
    Close every client of the running loop; owners make new ones when they need them.

    One that cannot be closed does not keep the others open; its error is raised at the end.
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
