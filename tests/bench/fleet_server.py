"""A server for simulated time: the same scripts, in Lua, on the few commands that they use, with a network's delays."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from lupa.lua51 import LuaRuntime  # the version of Lua that Redis and Valkey have

from resilient_ai._fleet.membership import SHAREABLE
from resilient_ai.redis._task import FleetTask


class SimulatedServer:
    """
    Keys with expiry, scripts and channels, in the time of the running event loop.

    Args:
        rng: Of the delays.
        delay: Seconds that a message takes each way, at least; the middle one takes half as much again.
    """

    def __init__(self, rng: Any, delay: float = 0.0005) -> None:
        self._rng, self._delay = rng, delay
        self._data: dict[str, Any] = {}
        self._expiry: dict[str, float] = {}
        self._lua = LuaRuntime(unpack_returned_tuples=True)
        self._scripts: dict[str, Any] = {}
        self.subscribers: list[Callable[[str], object]] = []
        self.tasks: Any = None
        table = self._lua.table_from
        self._environment = self._lua.execute(
            "redis = {}; cjson = {}; return function(call, encode) redis.call = call; cjson.encode = encode end"
        )
        self._environment(self._call, lambda each: json.dumps(dict(each), separators=(",", ":")))
        self._table = table

    def run(self, script: Any, keys: Any, arguments: Any) -> Any:
        """Run a script at this moment."""
        if script.digest not in self._scripts:
            self._scripts[script.digest] = self._lua.execute(f"return function(KEYS, ARGV)\n{script.text}\nend")
        given = [str(each) for each in arguments]
        return self._plain(self._scripts[script.digest](self._table(list(keys)), self._table(given)))

    def _plain(self, value: Any) -> Any:
        if hasattr(value, "values"):
            return [self._plain(each) for each in value.values()]
        return int(value) if isinstance(value, float) else value

    def wait(self) -> float:
        """Seconds that a message takes."""
        return self._delay * (1 + self._rng.expovariate(1.4))

    def _get(self, key: str, empty: Callable[[], Any] | None = None) -> Any:
        if self._expiry.get(key, float("inf")) <= anyio.current_time():
            self._delete(key)
        if empty is not None:
            return self._data.setdefault(key, empty())
        return self._data.get(key)

    def _delete(self, *keys: str) -> None:
        for key in keys:
            self._data.pop(key, None)
            self._expiry.pop(key, None)

    def flush(self) -> None:
        """All data are gone."""
        self._data.clear()
        self._expiry.clear()

    def _expire(self, key: str, millis: Any) -> None:
        self._expiry[key] = anyio.current_time() + float(millis) / 1000

    def _call(self, command: str, *words: Any) -> Any:
        key, *rest = [f"{each:.0f}" if isinstance(each, float) else each for each in words] or [""]
        return getattr(self, "on_" + command.lower())(key, *rest)

    # -- the commands that the scripts use

    def on_time(self, _key: str) -> Any:
        now = anyio.current_time() + 1e9
        return self._table([int(now), int(now % 1 * 1e6)])

    def on_set(self, key: str, value: str, *px: Any) -> None:
        self._get(key)
        self._data[key] = value
        self._expiry.pop(key, None)
        if px:
            self._expire(key, px[1])

    def on_del(self, *keys: str) -> None:
        self._delete(*keys)

    def on_get(self, key: str) -> Any:
        value = self._get(key)
        return False if value is None else value

    def on_incr(self, key: str) -> int:
        value = int(self._get(key) or 0) + 1
        self._data[key] = str(value)
        return value

    def on_pexpire(self, key: str, millis: Any) -> None:
        self._expire(key, millis)

    def on_hset(self, key: str, field: str, value: Any) -> None:
        self._get(key, dict)[field] = str(value)

    def on_hget(self, key: str, field: str) -> Any:
        return (self._get(key) or {}).get(field, False)

    def on_hdel(self, key: str, field: str) -> int:
        return int((self._get(key) or {}).pop(field, None) is not None)

    def on_hgetall(self, key: str) -> Any:
        return self._table([word for pair in (self._get(key) or {}).items() for word in pair])

    def on_zadd(self, key: str, score: Any, member: str) -> None:
        self._get(key, dict)[member] = float(score)

    def on_zrem(self, key: str, member: str) -> None:
        (self._get(key) or {}).pop(member, None)

    def on_zcard(self, key: str) -> int:
        return len(self._get(key) or {})

    def on_zrange(self, key: str, *_all: Any) -> Any:
        return self._table(list(self._get(key) or {}))

    def on_zremrangebyscore(self, key: str, _least: str, most: Any) -> None:
        members = self._get(key) or {}
        for each in [member for member, score in members.items() if score <= float(most)]:
            del members[each]

    def on_publish(self, _channel: str, message: str) -> None:
        for each in self.subscribers:
            self.tasks.start_soon(self._deliver, each, message)

    async def _deliver(self, hear: Callable[[str], object], message: str) -> None:
        await anyio.sleep(self.wait())
        hear(message)


class SimulatedTransport:
    """A worker's connection, as `resilient_ai.redis` sees it."""

    def __init__(self, server: SimulatedServer, gone: Callable[[], bool]) -> None:
        self._server, self._gone = server, gone
        self.timeout = 1.0

    async def run(self, script: Any, keys: Any, *arguments: Any) -> Any:
        if self._gone():
            await anyio.sleep_forever()
        await anyio.sleep(self._server.wait())
        answer = self._server.run(script, keys, arguments)
        await anyio.sleep(self._server.wait())
        return answer

    async def listen(self, _channel: str, hear: Callable[[object], None]) -> None:
        def heard(message: str) -> None:
            if not self._gone():
                hear(message)

        self._server.subscribers.append(heard)
        try:
            await anyio.sleep_forever()
        finally:
            self._server.subscribers.remove(heard)


class SimulatedStore:
    """
    What a registry joins in simulated time.

    Args:
        server: By which the workers share.
        gone: Whether this worker was cut off.
    """

    namespace = "bench"
    share = SHAREABLE

    def __init__(self, server: SimulatedServer, gone: Callable[[], bool]) -> None:
        self._server, self._gone = server, gone

    def check(self, *, in_thread: bool) -> None:
        pass

    async def run(self, membership: Any) -> None:
        @asynccontextmanager
        async def connect(_patience: float) -> Any:
            yield SimulatedTransport(self._server, self._gone)

        await FleetTask(
            connect, "bench", membership, push=True, sync_interval=5.0, timeout=1.0, rng=membership.rng, max_open=60.0
        ).run()
