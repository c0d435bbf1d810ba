"""The server as the task uses it: scripts and one channel. Only this file and `_clients` know coredis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import anyio

from ._addresses import sentinels_of

if TYPE_CHECKING:
    from ._addresses import Sentinels
    from ._scripts import Script


class Transport:
    """
    An open connection.

    Args:
        client: A client of coredis, already entered.
        timeout: Most seconds for a command, including the connection that it may need.
    """

    def __init__(self, client: Any, timeout: float) -> None:
        self._client = client
        self.timeout = timeout

    async def run(self, script: Script, keys: Sequence[str], *arguments: str | float) -> Any:
        """Run a script on the server; `TimeoutError` if a command takes too long."""
        given = [str(each) for each in arguments]
        try:
            with anyio.fail_after(self.timeout):
                return as_text(await self._client.evalsha(script.digest, keys=list(keys), args=given))
        except Exception as error:
            if not is_refusal(error, "NoScriptError"):
                raise
        with anyio.fail_after(self.timeout):
            return as_text(await self._client.eval(script.text, keys=list(keys), args=given))

    async def listen(self, channel: str, hear: Callable[[object], None]) -> None:
        """Call `hear` with each message of a channel; returns when the subscription has ended."""
        from coredis.retry import NoRetryPolicy

        # By itself it would reconnect, and it would not be noticed that the server was away.
        async with self._client.pubsub(channels=[channel], retry_policy=NoRetryPolicy()) as subscription:
            async for message in subscription:
                if message["type"] == "message":
                    hear(as_text(message["data"]))


@asynccontextmanager
async def opened(url: str, patience: float) -> AsyncIterator[Transport]:
    """
    Open a connection to the server that does not resend commands by itself.

    Args:
        url: The url of the server.
        patience: Most seconds for a command at first, including the connection that it needs.
    """
    from coredis import Redis
    from coredis.retry import NoRetryPolicy

    settings: dict[str, Any] = {
        "decode_responses": True,
        "retry_policy": NoRetryPolicy(),
        "connect_timeout": patience,
        "pool_timeout": patience,
    }
    async with AsyncExitStack() as stack:
        client: Any
        if (sentinels := sentinels_of(url)) is not None:
            client = await stack.enter_async_context(_primary(sentinels, settings | _tls_of(url), patience))
        elif url.partition("://")[0].endswith("+cluster"):
            client = await stack.enter_async_context(_cluster(url, settings))
        else:
            client = await stack.enter_async_context(Redis.from_url(url, **settings))
        yield Transport(client, patience)


@asynccontextmanager
async def _primary(sentinels: Sentinels, settings: dict[str, Any], patience: float) -> AsyncIterator[Any]:
    """Open a client of the current primary; after a failover its commands fail, and a new one is opened."""
    from coredis import Sentinel
    from coredis.connection import TCPLocation

    each = patience / (len(sentinels.nodes) + 1)  # seconds for one that does not answer, before the next is asked
    nodes = [TCPLocation(*node) for node in sentinels.nodes]
    settings = {**settings, "timeout": settings["pool_timeout"], **sentinels.credentials}
    del settings["pool_timeout"]
    asked = {"connect_timeout": each, "stream_timeout": each, **sentinels.own_credentials}
    if "ssl_context" in settings:
        asked["ssl_context"] = settings["ssl_context"]
    known = Sentinel(nodes, sentinel_kwargs=asked, **settings)
    async with known, known.primary_for(sentinels.service) as client:
        yield client


def _cluster(url: str, settings: dict[str, Any]) -> Any:
    """Create a client of a cluster; all keys of a namespace have one hash tag, so that they are on one node."""
    from coredis import RedisCluster
    from coredis.connection import TCPLocation

    parts = urlsplit(url)
    told = {"username": parts.username, "password": parts.password}
    known: dict[str, Any] = {name: unquote(value) for name, value in told.items() if value is not None}
    node = TCPLocation(parts.hostname or "localhost", parts.port or 6379)
    return RedisCluster(startup_nodes=[node], **known, **settings, **_tls_of(url))


def _tls_of(url: str) -> dict[str, Any]:
    """Return the TLS settings of a url, whose ssl_... are read as those of `rediss://`; empty without TLS."""
    from coredis import Redis

    scheme, _, rest = url.partition("://")
    if not scheme.startswith("rediss"):
        return {}
    pool: Any = Redis.from_url(f"rediss://server?{rest.partition('?')[2]}").connection_pool
    return {"ssl_context": pool.connection_kwargs["ssl_context"]}


def as_text(reply: Any) -> Any:
    """Return a server's answer with strings for bytes, which some clients do not decode."""
    if isinstance(reply, bytes):
        return reply.decode(errors="replace")
    return [as_text(each) for each in reply] if isinstance(reply, list) else reply


def is_refusal(error: BaseException, name: str = "ResponseError") -> bool:
    """Return whether the server answered with a refusal; its name is the same in all clients."""
    return any(each.__name__ == name for each in type(error).__mro__)
