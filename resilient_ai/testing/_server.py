"""The server of a fake provider: connections, answers, streams, and the ways in which they break off."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
from anyio.abc import SocketAttribute

from ._apis.dispatch import answer, api_of, stream_error, streams
from ._apis.question import Answer
from ._faults import Fault, moments
from ._http import ClientLeftError, Connection
from ._received import Received

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import SocketStream

    from ._apis.answers import Say
    from ._http import HTTPRequest
    from ._received import RequestLog
    from ._trouble import Trouble

_SECRET_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie")
_JSON = {"content-type": "application/json"}
_SSE = {"content-type": "text/event-stream; charset=utf-8"}


class Pace(NamedTuple):
    """Seconds before every answer, and between the items of a stream."""

    latency: float
    item_seconds: float


class Server:
    """Answers requests on loopback; answers and faults are decided elsewhere."""

    def __init__(
        self,
        shown: Callable[[], str],
        say: Say,
        log: RequestLog,
        trouble: Trouble,
        now: Callable[[], float],
        pace: Callable[[], Pace],
    ) -> None:
        self._shown = shown
        self._say = say
        self._log = log
        self._trouble = trouble
        self._now = now
        self._pace = pace

    async def serve(self, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener:
            port = listener.extra(SocketAttribute.local_port)
            with anyio.CancelScope() as scope:
                task_status.started((port, scope))
                await listener.serve(self._client)

    async def _client(self, stream: SocketStream) -> None:
        self._log.connected(1)
        try:
            async with stream:
                connection = Connection(stream)
                while (request := await connection.receive()) is not None:
                    if not await self._handle(connection, request):
                        break
        finally:
            self._log.connected(-1)

    async def _handle(self, connection: Connection, request: HTTPRequest) -> bool:
        """Answer one request; whether the connection can be used again."""
        received, fault = self._take(request)
        try:
            return await self._answer(connection, request, received, fault)
        except ClientLeftError:
            self._log.end(received, "left")
            return False
        except Exception as error:  # noqa: BLE001 - the user's `answer`, or a body that makes no sense; the server lives on
            told = f"{self._shown()} could not answer: {type(error).__name__}: {error}".encode()
            # Otherwise the client's next request would come too late.
            await connection.reply(500, {"connection": "close"}, told)
            return False
        finally:
            self._log.end(received, "done")

    def _take(self, request: HTTPRequest) -> tuple[Received, Fault | None]:
        try:
            body = json.loads(request.body) if request.body else None
        except ValueError:
            body = request.body.decode("latin-1")
        headers = {name: "[secret]" if name in _SECRET_HEADERS else value for name, value in request.headers.items()}
        with self._log.changed:
            now = self._now()
            api = api_of(request.path, request.headers)
            fault = self._trouble.strike(now, scripted=request.method == "POST", api=api)
            received = Received(request.method, request.path, body, headers, now, streams(request.path, body))
            received.fault = fault.name if fault is not None else None
            self._log.add(received)
        return received, fault

    async def _answer(
        self, connection: Connection, request: HTTPRequest, received: Received, fault: Fault | None
    ) -> bool:
        wait = (fault.delay if fault is not None else 0.0) + self._pace().latency
        if wait:
            await connection.attended(lambda: anyio.sleep(wait))
        if fault is not None and fault.then != "answer" and fault.after_items is None:
            return await self._fail(connection, received, fault, "")
        scripted = fault.answer if fault is not None else None
        say = answer(request.method, request.path, request.headers, received.body, self._say, scripted)
        if isinstance(say, Fault):
            return await self._fail(connection, received, say, "")
        if say.body is None:
            return await self._stream(connection, request, received, say, fault)
        if fault is not None and fault.then != "answer":
            return await self._fail(connection, received, fault, json.dumps(say.body))
        received.status = 200
        self._log.end(received, "done")  # recorded before the client can have read the reply
        await connection.reply(200, _JSON, json.dumps(say.body).encode())
        return True

    async def _fail(self, connection: Connection, received: Received, fault: Fault, text: str) -> bool:
        """Perform the fault of a request without a stream."""
        if fault.then == "reply":
            received.status = fault.status
            body = fault.body if isinstance(fault.body, str) else json.dumps(fault.body)
            self._log.end(received, "done")
            await connection.reply(fault.status, moments(fault.headers), body.encode())
            return True
        if fault.then == "stall":
            await connection.attended(anyio.sleep_forever)
        elif fault.then == "reset":
            await connection.reset()
        else:
            received.status = 200
            await connection.reply(200, _JSON, text.encode(), torn=True)
        return False

    async def _stream(
        self, connection: Connection, request: HTTPRequest, received: Received, say: Answer, fault: Fault | None
    ) -> bool:
        last = len(say.items) if fault is None or fault.after_items is None else min(fault.after_items, len(say.items))
        received.status = 200

        async def respond() -> None:
            await connection.start_stream(_SSE)
            for frame in say.head:
                await connection.frame(frame)
            for number, frame in enumerate(say.items[:last]):
                if number and (seconds := self._pace().item_seconds):
                    await anyio.sleep(seconds)
                await connection.frame(frame)
                received.items += 1
            self._log.news()
            if fault is None or fault.then != "stall":
                self._log.end(received, "done")
            if fault is None or fault.then == "answer":
                for frame in say.tail:
                    await connection.frame(frame)
                await connection.end_stream()
            elif fault.then == "reply":
                number = sum(frame.count("\n\n") for frame in (*say.head, *say.items[:last]))  # number of events so far
                await connection.frame(stream_error(request.path, request.headers, fault.body, number))
                await connection.end_stream()
            elif fault.then == "cut":
                await connection.end_stream()
            elif fault.then == "tear":
                await connection.torn_frame((say.items + say.tail)[last])
            elif fault.then == "stall":
                await anyio.sleep_forever()

        await connection.attended(respond)
        if fault is not None and fault.then == "reset":
            await connection.reset()
        return fault is None or fault.then in ("answer", "reply", "cut")
