"""The SDK clients of plain code, whose methods are lifted to async ones that never wait, for the endpoints."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from resilient_ai._core.plain_streams import LiftedStream, gives_plain_items

if TYPE_CHECKING:
    from collections.abc import Callable


class LiftedClient:
    """
    An SDK's client for plain code, or a part of it.

    Its methods are awaited like those of the async client. A stream is an async iterator with `aclose`.
    """

    __slots__ = ("_part",)

    def __init__(self, part: Any) -> None:
        self._part = part

    def __getattr__(self, name: str) -> Any:
        return type(self)(getattr(self._part, name))

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._part(*args, **kwargs)
        return LiftedStream(result) if gives_plain_items(type(result)) else result


class PlainClient:
    """
    Makes one client for all threads of a process, at the first use.

    Args:
        make: Makes the client.
        given: The user's own client, which is not closed; None: make one.
        lift: Lifts the client for the endpoint.
    """

    __slots__ = ("__weakref__", "_client", "_end", "_given", "_lift", "_lock", "_made_in", "_make")

    def __init__(self, make: Callable[[], Any], given: Any, lift: Callable[[Any], Any]) -> None:
        self._make = make
        self._given = given
        self._lift = lift
        self._lock = threading.Lock()
        self._client: Any = None
        self._made_in = 0
        self._end: Any = None

    def get(self) -> Any:
        """The client. A forked child makes its own: two processes cannot share a connection."""
        # Read in this order, each once: another thread may remove the client between any two of these steps.
        made_in = self._made_in
        client = self._client
        here = os.getpid()
        if made_in == here and client is not None:
            return client
        if made_in not in (0, here):
            self._lock = threading.Lock()  # the parent's lock may be held by a thread that the child does not have
        with self._lock:
            if self._made_in != here:
                self._begin(here)
            return self._client

    def _begin(self, here: int) -> None:
        if self._given is not None:
            self._client = self._lift(self._given)
        else:
            client = self._make()
            self._end = weakref.finalize(self, _close_in, here, client)
            self._client = self._lift(client)
        self._made_in = here

    def take(self) -> Any:
        """Remove and return the client, to close it; None if there is none, or if it is the user's."""
        with self._lock:
            client, self._client = self._client, None
            end, made_in, self._made_in = self._end, self._made_in, 0
        if end is None or made_in != os.getpid():
            return None
        end.detach()
        return client


def _close_in(process: int, client: Any) -> None:
    """Close a client at the end of its endpoint or of the program; not in a forked child, which has only a copy."""
    if os.getpid() == process:
        with suppress(Exception):
            client.close()
