"""A provider that gives recorded replies, or breaks the connection in one well-defined way; real HTTP on loopback."""

from __future__ import annotations

import json
import socket
import struct
import threading
import zlib
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def recorded(name: str) -> list[dict[str, Any]]:
    """The replies of one file of `data`."""
    cases: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / f"{name}.json").read_text())
    return cases


CASES = recorded("provider_errors")

FAULTS = (
    "rst_before_response",
    "close_before_response",
    "rst_mid_headers",
    "rst_mid_body",
    "truncated_content_length",
    "stall_before_response",
    "stall_mid_body",
    "garbage_status_line",
    "malformed_json",
    "html_200",
)
STREAM_FAULTS = ("sse_cut", "sse_rst", "sse_stall", "sse_bad_json")

_CHAT = {
    "id": "chatcmpl-x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "pong"}}],
}
_CHUNK = {
    "id": "chatcmpl-x",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}, "finish_reason": None}],
}


class ReplayServer:
    """
    Replies by path: `/case/<id>/...` with a case of the catalogue, `/fault/<name>/...` with a network fault,
    `/ok/...` with a chat completion. `requests` counts what arrived by the second part of the path.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.script: list[dict[str, Any]] = []  # replies of `/script/...`, one after the other, the last for ever
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._closed = threading.Event()
        self.origin = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError):
            path = _read_request(connection)
            kind, _, rest = path.lstrip("/").partition("/")
            name = rest.partition("/")[0]
            self.requests[name] += 1
            if kind == "case":
                connection.sendall(reply(next(case for case in CASES if case["id"] == name)))
            elif kind == "script":
                connection.sendall(reply(self.script.pop(0) if len(self.script) > 1 else self.script[0]))
            elif kind == "fault":
                self._break(connection, name)
            else:
                connection.sendall(reply({"status": 200, "headers": {}, "body": _CHAT}))
        with suppress(OSError):
            connection.close()

    def _break(self, connection: socket.socket, fault: str) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        stream = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        stream += _chunked(b"data: " + json.dumps(_CHUNK).encode() + b"\n\n")
        sent = {
            "rst_mid_headers": head,
            "rst_mid_body": head + b'content-length: 1000\r\n\r\n{"choices"',
            "truncated_content_length": head + b'content-length: 1000\r\n\r\n{"choices"',
            "stall_mid_body": head + b'content-length: 1000\r\n\r\n{"choices"',
            "garbage_status_line": b"\x00\x01 this is not HTTP\r\n\r\n",
            "malformed_json": head + b'content-length: 11\r\n\r\n{"choices":',
            "html_200": head.replace(b"application/json", b"text/html") + b"content-length: 15\r\n\r\n<html>hi</html>",
            "sse_cut": stream,
            "sse_rst": stream,
            "sse_stall": stream,
            "sse_bad_json": stream + _chunked(b"data: {not json\n\n") + b"0\r\n\r\n",
        }.get(fault, b"")
        connection.sendall(sent)
        if "stall" in fault:
            self._closed.wait(10)
        if "rst" in fault:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def replaying() -> Iterator[ReplayServer]:
    """A server in a thread of its own for the time of the block."""
    server = ReplayServer()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(5)


def unused_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _read_request(connection: socket.socket) -> str:
    received = b""
    while b"\r\n\r\n" not in received:
        received += (more := connection.recv(65_536))
        if not more:
            raise ConnectionError("the client left")
    head, _, body = received.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    missing = int(headers.get(b"content-length", b"0")) - len(body)
    while missing > 0:
        missing -= len(more := connection.recv(65_536))
        if not more:
            raise ConnectionError("the client left")
    return head.split(b" ", 2)[1].decode()


def reply(case: dict[str, Any]) -> bytes:
    """The bytes of a recorded reply, with its moments in time filled in."""
    body = case["body"]
    if isinstance(body, dict) and "eventstream" in body:
        content = b"".join(_event(each) for each in body["eventstream"])
    else:
        content = body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **case["headers"]}
    lines = [f"{name}: {_filled(str(value))}" for name, value in headers.items()]
    lines += [f"content-length: {len(content)}", "connection: close"]
    return "\r\n".join([f"HTTP/1.1 {case['status']} X", *lines, "", ""]).encode() + content


def _filled(value: str) -> str:
    for mark, written in (
        ("@httpdate+", lambda when: format_datetime(when, usegmt=True)),
        ("@rfc3339+", lambda when: when.isoformat().replace("+00:00", "Z")),
        ("@unix+", lambda when: str(int(when.timestamp()))),
    ):
        if value.startswith(mark):
            return written(datetime.now(UTC) + timedelta(seconds=float(value.removeprefix(mark))))
    return value


def _event(event: dict[str, Any]) -> bytes:
    """One frame of an AWS event stream."""
    kind = "exception" if "exception" in event else "event"
    pairs = {
        f":{kind}-type": event.get("exception", event.get("event")),
        ":content-type": "application/json",
        ":message-type": kind,
    }
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for name, value in pairs.items()
    )
    payload = json.dumps(event["payload"]).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


def _chunked(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)
