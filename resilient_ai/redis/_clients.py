"""A client of the user: its kind, whether it can be used where a registry joins, and how to run commands on it."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from resilient_ai._core.kinds import with_article
from resilient_ai._core.tasks import running_loop

from ._transport import Transport, as_text, is_refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ._scripts import Script

_LOOK = 5.0  # most seconds to wait for one message: in older clients listening ends with the socket's timeout
_CLOSING = 1.0  # most seconds for closing the subscription
_KNOWN = "a coredis.Redis or RedisCluster, or a redis.asyncio.Redis"


class Client:
    """
    The user's own client. It is neither entered nor closed here, and never shown: it may hold a password.

    Args:
        client: A client of coredis, or a `Redis` of `redis.asyncio` or `valkey.asyncio`.

    Raises:
        ValueError: It is of another kind.
    """

    def __init__(self, client: object) -> None:
        self._client: Any = client
        self.name = _name_of(type(client))
        if _is_of(client, "coredis", "Redis", "RedisCluster"):
            self._of_coredis = True
        elif _is_of(client, "redis.asyncio", "Redis") or _is_of(client, "valkey.asyncio", "Valkey"):
            self._of_coredis = False
        else:
            raise ValueError(f"client of a RedisStore must be {_KNOWN}; got {with_article(self.name)}{_hint(client)}")

    def check(self, *, in_thread: bool) -> None:
        """
        Raise `ValueError` unless it can be used here.

        Args:
            in_thread: Whether the store would run in a thread of its own.
        """
        if in_thread:
            raise ValueError(
                "a RedisStore with a client of your own is joined by 'async with', in the event loop of that client; "
                "give a url to join by a plain 'with'"
            )
        if not self._of_coredis and running_loop() is None:
            raise ValueError(f"{with_article(self.name)} runs on asyncio alone; give a client of coredis, or a url")
        if self._of_coredis and getattr(self._client.connection_pool, "_task_group", self) is None:
            raise ValueError(f"the {self.name} is not open: write 'async with client, registry.join(...)'")

    @asynccontextmanager
    async def opened(self, patience: float) -> AsyncIterator[Transport]:
        """Lend its connections for the length of a block; they stay open afterwards."""
        yield self._of_coredis_on_its_pool(patience) if self._of_coredis else RedisPyTransport(self._client, patience)

    def _of_coredis_on_its_pool(self, patience: float) -> Transport:
        # The user's client would resend a command that was not answered, and so take units of a quota twice.
        from coredis import Redis, RedisCluster
        from coredis.retry import NoRetryPolicy

        pool: Any = self._client.connection_pool
        if isinstance(self._client, RedisCluster):
            return Transport(RedisCluster(connection_pool=pool, retry_policy=NoRetryPolicy()), patience)
        return Transport(Redis(connection_pool=pool, retry_policy=NoRetryPolicy()), patience)


class RedisPyTransport(Transport):
    """The same with a client of `redis.asyncio`, whose own retries stay within the timeout of a command."""

    async def run(self, script: Script, keys: Sequence[str], *arguments: str | float) -> Any:
        """Run a script on the server; `TimeoutError` if a command takes too long."""
        given = [len(keys), *keys, *map(str, arguments)]
        try:
            with anyio.fail_after(self.timeout):
                return as_text(await self._client.evalsha(script.digest, *given))
        except Exception as error:
            if not is_refusal(error, "NoScriptError"):
                raise
        with anyio.fail_after(self.timeout):
            return as_text(await self._client.eval(script.text, *given))

    async def listen(self, channel: str, hear: Callable[[object], None]) -> None:
        """Call `hear` with each message of a channel, until cancelled."""
        subscription = self._client.pubsub(ignore_subscribe_messages=True)
        try:
            await subscription.subscribe(channel)
            while True:
                message = await subscription.get_message(timeout=_LOOK)
                if message is not None and message["type"] == "message":
                    hear(as_text(message["data"]))
        finally:
            with anyio.move_on_after(_CLOSING, shield=True):
                await subscription.aclose()


def _is_of(client: object, module: str, *names: str) -> bool:
    # With such a client its module is already imported; nothing is imported for this check.
    kinds = tuple(getattr(sys.modules.get(module), name, None) for name in names)
    return isinstance(client, tuple(each for each in kinds if isinstance(each, type)))


def _hint(client: object) -> str:
    if _is_of(client, "coredis", "Sentinel") or hasattr(client, "discover_primary") or hasattr(client, "master_for"):
        return ": give the client that it makes, sentinel.primary_for(...)"
    if _is_of(client, "redis", "Redis", "RedisCluster") or _is_of(client, "valkey", "Valkey", "ValkeyCluster"):
        return ", which blocks the event loop"
    if _is_of(client, "redis.asyncio", "RedisCluster") or _is_of(client, "valkey.asyncio", "ValkeyCluster"):
        return ": for a cluster give one of coredis, or url='redis+cluster://...'"
    return ""


def _name_of(kind: type) -> str:
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
