"""A minimal HTTP/1.1 server for SDKs, which can break off replies for tests."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

import anyio
from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import SocketStream

_MOST_HEAD = 64 * 1024


class ClientLeftError(Exception):
    """The client closed the connection before the whole reply was sent."""


@dataclass(slots=True)
class HTTPRequest:
    """One request, with header names in lower case and the path without its query."""

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Connection:
    """The connection of one client, with one request at a time."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._head_only = False

    async def receive(self) -> HTTPRequest | None:
        """The next request; None if the client has closed the connection, or does not speak HTTP."""
        try:
            return await self._read_request()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, ValueError):
            return None

    async def _read_request(self) -> HTTPRequest:
        head = await self._until(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = await self._chunks()
        else:
            body = await self._exactly(int(headers.get("content-length", 0)))
        self._head_only = method == "HEAD"
        return HTTPRequest(method, unquote(target.partition("?")[0]), headers, body)

    async def _until(self, end: bytes) -> bytes:
        while (at := self._buffer.find(end)) < 0:
            if len(self._buffer) > _MOST_HEAD:
                raise anyio.EndOfStream
            self._buffer += await self._stream.receive()
        found = bytes(self._buffer[:at])
        del self._buffer[: at + len(end)]
        return found

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += await self._stream.receive()
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    async def _chunks(self) -> bytes:
        body = b""
        while size := int((await self._until(b"\r\n")).partition(b";")[0], 16):
            body += await self._exactly(size)
            await self._until(b"\r\n")
        while await self._until(b"\r\n"):  # trailers
            pass
        return body

    async def attended(self, respond: Callable[[], Awaitable[None]]) -> None:
        """
        Run `respond` as long as the client is connected.

        Raises:
            ClientLeftError: The client closed the connection meanwhile.
        """
        left = False
        async with anyio.create_task_group() as tasks:

            async def attend() -> None:
                nonlocal left
                try:
                    while True:
                        self._buffer += await self._stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    left = True
                    tasks.cancel_scope.cancel()

            tasks.start_soon(attend)
            try:
                await respond()
            except ClientLeftError:  # without the exception group of the tasks
                left = True
            tasks.cancel_scope.cancel()
        if left:
            raise ClientLeftError

    async def send(self, data: bytes) -> None:
        """
        Send raw bytes.

        Raises:
            ClientLeftError: The client has closed the connection.
        """
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise ClientLeftError from None

    async def reply(self, status: int, headers: Mapping[str, str], body: bytes, *, torn: bool = False) -> None:
        """Send a whole reply, or with `torn` less than its length says."""
        head = _head(status, {**headers, "content-length": str(len(body))})
        if self._head_only:  # a body would be read as the next reply
            body = b""
        await self.send(head + (body[: len(body) // 2] if torn else body))

    async def start_stream(self, headers: Mapping[str, str]) -> None:
        """Send status 200 and the headers of a chunked reply."""
        await self.send(_head(200, {**headers, "transfer-encoding": "chunked"}))

    async def frame(self, text: str) -> None:
        """Send one chunk."""
        data = text.encode()
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def torn_frame(self, text: str) -> None:
        """Send the first half of a chunk."""
        data = text.encode()
        await self.send(b"%x\r\n%b" % (len(data), data[: len(data) // 2]))

    async def end_stream(self) -> None:
        """Send the last chunk."""
        await self.send(b"0\r\n\r\n")

    async def reset(self) -> None:
        """Reset the connection instead of closing it."""
        raw = self._stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await anyio.aclose_forcefully(self._stream)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:  # providers have non-standard statuses: 498, 529
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
