"""
Workers of one service share what holds for all of them through Redis or Valkey (6.0 or newer).

    async with registry.join(RedisStore("redis://cache:6379/0", namespace="prod")) as fleet: ...
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

from resilient_ai._core.checks import check_number
from resilient_ai._core.public import public
from resilient_ai._fleet.membership import SHAREABLE

from ._addresses import check_url, shown_url
from ._clients import Client

if TYPE_CHECKING:
    from resilient_ai._fleet.membership import Membership

__all__ = ["RedisStore"]

_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")


@public("redis")
class RedisStore:
    """
    A server through which registries share facts: a 429 with its wait, a quota used up, a key that is refused.

    No call waits for it, and if it is away everything works as without a store. It holds hashes, times, error types and
    random names of workers; no prompt, answer, key or name of an endpoint. It connects only in `registry.join`.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with user and password if there are any; `redis+cluster://` or
            `rediss+cluster://` for a node of a cluster, which names the others; or the Sentinels that know which
            server is the primary, `redis+sentinel://host:port,host:port/service`, or `rediss+sentinel://` with TLS
            (user and password are the server's; `?sentinel_username=…&sentinel_password=…` are the Sentinels' own).
            Default "redis://localhost:6379/0" if no client is given.
        client: Your own client instead of the url: a `Redis` or `RedisCluster` of coredis, which must be open
            and may come from its `Sentinel`, or on asyncio a `Redis` of `redis.asyncio`. It is not closed. Its pool
            must allow about five connections, and the store must be joined by `async with`, in the client's event loop.
            Retries by `redis.asyncio` itself stay within `command_timeout`. Default: one is made from the url.
        namespace: Name of the fleet: 1 to 64 letters, digits, dots, dashes and underscores. Default "resilient_ai".
        push: Whether news may be pushed. If the server's user has no rights on channels, they are fetched every
            second anyway. Default True.
        sync_interval: About how many seconds lie between heartbeats. Default 5.
        command_timeout: Most seconds for a command; the first that takes longer means that the server is away.
            Default 1.
        max_open: Seconds for which this worker leaves a circuit open that the fleet holds open, without a failure of
            its own; then it tries one call per so many seconds, and after two good ones decides by itself. Default 60.
        share: What is shared, the same in all workers: "circuits" (votes), "facts" (refusals of a credential)
            and "rate_limits" (one quota for all). The rest stays local. Default all three.

    Raises:
        ValueError: An invalid setting, or a client of another kind.
        ImportError: A url is given and coredis is not installed: `pip install 'resilient-ai[redis]'`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client: object = None,
        namespace: str = "resilient_ai",
        push: bool = True,
        sync_interval: float = 5.0,
        command_timeout: float = 1.0,
        max_open: float = 60.0,
        share: Collection[str] = SHAREABLE,
    ) -> None:
        if client is None:
            url = "redis://localhost:6379/0" if url is None else url
            check_url(url)
        elif url is not None:
            raise ValueError("a RedisStore takes a url or a client, not both")
        if not _fits(namespace):
            raise ValueError(f"namespace must be 1 to 64 of [A-Za-z0-9._-], got {namespace!r}")
        if push not in (True, False):
            raise ValueError(f"push must be True or False, got {push!r}")
        check_number("sync_interval", sync_interval, above=0, most=10)
        check_number("command_timeout", command_timeout, above=0)
        check_number("max_open", max_open, above=0)
        _check_share(share)
        self._url, self._client = url, None if client is None else Client(client)
        if client is None:
            _check_coredis()
        self._namespace = namespace
        self._push = push
        self._sync_interval = sync_interval
        self._command_timeout = command_timeout
        self._max_open = max_open
        self._share = frozenset(share)

    @property
    def namespace(self) -> str:
        """Return the fleet's name."""
        return self._namespace

    @property
    def share(self) -> frozenset[str]:
        """Return what is shared."""
        return self._share

    def check(self, *, in_thread: bool) -> None:
        """Raise `ValueError` if its client cannot be used; `registry.join` calls this."""
        if self._client is not None:
            self._client.check(in_thread=in_thread)

    async def run(self, membership: Membership) -> None:
        """Share with the other workers until cancelled; `registry.join` calls this."""
        from ._task import FleetTask
        from ._transport import opened

        await FleetTask(
            partial(opened, self._url or "") if self._client is None else self._client.opened,
            self._namespace,
            membership,
            push=self._push,
            sync_interval=self._sync_interval,
            timeout=self._command_timeout,
            rng=membership.rng,
            max_open=self._max_open,
        ).run()

    def __repr__(self) -> str:
        if self._client is not None:
            return f"RedisStore(client={self._client.name}, namespace={self._namespace!r})"
        return f"RedisStore({shown_url(self._url or '')!r}, namespace={self._namespace!r})"


def _check_coredis() -> None:
    try:
        import coredis  # noqa: F401
    except ImportError as error:
        raise ImportError("RedisStore needs the package coredis: pip install 'resilient-ai[redis]'") from error


def _check_share(share: object) -> None:
    known = ", ".join(map(repr, SHAREABLE))
    if isinstance(share, (str, bytes)) or not isinstance(share, Collection):
        raise ValueError(f"share must be a tuple of some of {known}; got {share!r}")
    if unknown := [each for each in share if each not in SHAREABLE]:
        raise ValueError(f"share knows {known}; got {', '.join(map(repr, unknown))}")


def _fits(namespace: object) -> bool:
    return isinstance(namespace, str) and _NAMESPACE.fullmatch(namespace) is not None
