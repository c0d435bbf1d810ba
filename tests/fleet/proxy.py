"""A small TCP proxy between workers and a server: it delays, swallows one way or both, refuses, cuts and forgets."""

from __future__ import annotations

import queue
import socket
import threading
import time
from contextlib import suppress


class _Connection:
    """Whether it has a subscription, and whether that has been forgotten."""

    subscribed = forgotten = False


class Proxy:
    """
    In threads of its own.

    Attributes:
        to: Port of the server.
        delay: Seconds that each piece takes, each way.
        swallow: What vanishes: "requests", "answers", both, or nothing.
        refuse: Whether connections are closed at once.
    """

    def __init__(self, to: int) -> None:
        self.to = to
        self.delay, self.swallow, self.refuse = 0.0, frozenset(), False
        self._lines: list[socket.socket] = []
        self._connections: list[_Connection] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listening.accept()
                try:
                    if self.refuse:
                        raise OSError
                    other = socket.create_connection(("127.0.0.1", self.to), 1)
                except OSError:
                    line.close()
                    continue
                other.settimeout(None)
                self._lines += [line, other]
                self._connections.append(connection := _Connection())
                for source, target, what in ((line, other, "requests"), (other, line, "answers")):
                    threading.Thread(target=self._pump, args=(source, target, what, connection), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, what: str, connection: _Connection) -> None:
        pieces: queue.Queue[tuple[float, bytes]] = queue.Queue()
        threading.Thread(target=self._forward, args=(pieces, target), daemon=True).start()
        with suppress(OSError):
            while piece := source.recv(65536):
                connection.subscribed |= what == "requests" and b"SUBSCRIBE" in piece
                if what not in self.swallow and not connection.forgotten:
                    pieces.put((time.monotonic() + self.delay, piece))
        pieces.put((0.0, b""))
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _forward(self, pieces: queue.Queue[tuple[float, bytes]], target: socket.socket) -> None:
        with suppress(OSError):
            while (due := pieces.get())[1]:
                time.sleep(max(0.0, due[0] - time.monotonic()))
                target.sendall(due[1])

    def forget_subscriptions(self) -> None:
        """Swallow all that comes on the connections with one, as a router does that has forgotten an idle one."""
        for each in self._connections:
            each.forgotten |= each.subscribed

    def cut(self) -> None:
        """End all connections."""
        lines, self._lines = self._lines, []
        for each in lines:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.close()
        self.cut()
