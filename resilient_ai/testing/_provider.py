"""`FakeProvider`: an AI provider on loopback that answers, and fails when and how it is told."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio
from anyio.abc import SocketAttribute
from anyio.from_thread import start_blocking_portal

from resilient_ai._core.public import public

from ._answers import Answer, answer, api_of, stream_error
from ._faults import Fault, moments
from ._http import ClientLeftError, Connection
from ._trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from anyio.abc import SocketStream

    from resilient_ai._core.clock import Clock

    from ._http import HTTPRequest
    from ._trouble import AnyFault, Outage

_SECRET_HEADERS = ("authorization", "x-api-key", "api-key", "cookie")
_SSE = {"content-type": "text/event-stream; charset=utf-8"}


@public("testing")
@dataclass(slots=True)
class Received:
    """
    One request, as the provider saw it. Its repr shows neither prompt nor key.

    Attributes:
        method: Of the request.
        path: Of the request, without its query.
        body: The JSON body as data; None without one.
        headers: Names in lower case; the values of keys are taken out.
        at: Seconds on the provider's clock.
        stream: Whether the client asked for a stream.
        fault: Name of the fault it got; None for a normal answer.
        status: Status that was sent; None if none was.
        items: Pieces of a stream that were sent.
        state: "open" while it is answered, then "done", or "left" if the client went away first.
    """

    method: str
    path: str
    body: Any = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    at: float
    stream: bool = False
    fault: str | None = None
    status: int | None = None
    items: int = 0
    state: Literal["open", "done", "left"] = "open"


@public("testing")
class FakeProvider:
    """
    A real HTTP server on loopback that speaks the wire formats of OpenAI and Anthropic, streams included.

    It runs in a thread of its own, so that clients on any event loop, in any thread, on asyncio or trio, can talk
    to it; it starts with `with` (or `async with`, or `start()`) and is gone at the block's end. Answers depend on
    the question alone: chat gives `"[name] question"`, embeddings are near each other when texts share words.

    What goes wrong is decided per request, in this order: the script's next entry (`POST` only), an outage that
    is on, a random fault of `flaky`. A fault is a `Fault`, a bare HTTP status, or the name of a real reply
    (`fault_names()`); without the provider's name in front (`"overloaded"`), the reply fits the API that was asked.

    Args:
        name: Shows in answers, so that a test sees which region spoke.
        answer: From the question to the text of the answer; default `"[name] question"`.
        latency: Seconds before every answer. Default 0.
        item_seconds: Seconds between the items of a stream. Default 0.
        clock: What schedules of outages go by, a `VirtualClock` say; delays are real seconds always.

    Examples:
        >>> with FakeProvider("us-east") as provider:
        ...     provider.script("rate_limit", Fault.reset(), "ok")
        ...     provider.base_url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        answer: Callable[[str], str] | None = None,
        latency: float = 0.0,
        item_seconds: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.latency = latency
        self.item_seconds = item_seconds
        self._say = answer if answer is not None else lambda question: f"[{name}] {question}"
        self._now = clock.now if clock is not None else time.monotonic
        self._changed = threading.Condition()
        self._requests: list[Received] = []
        self._connections = 0
        self._trouble = Trouble()
        self._running: ExitStack | None = None
        self._port = 0

    # -- its life

    def start(self) -> Self:
        """
        Begin to listen, on a free port, until `close()`.

        Raises:
            RuntimeError: It runs already.
        """
        if self._running is not None:
            raise RuntimeError(f"{self!r} runs already")
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal("asyncio"))
            _, (self._port, scope) = portal.start_task(self._serve)
            stack.callback(portal.call, scope.cancel)
            self._running = stack.pop_all()
        return self

    def close(self) -> None:
        """Stop listening and close every connection; twice is fine."""
        running, self._running = self._running, None
        if running is not None:
            running.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A few milliseconds in which the server's own thread winds up; nothing of ours has to run for that.
        self.close()

    @property
    def url(self) -> str:
        """
        `http://127.0.0.1:port`: what the anthropic SDK wants as `base_url`.

        Raises:
            RuntimeError: It does not run.
        """
        if self._running is None:
            raise RuntimeError(f"{self!r} does not run; use `with` or call .start()")
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:port/v1`: what the openai SDK wants as `base_url`."""
        return f"{self.url}/v1"

    # -- what goes wrong

    def script(self, *faults: AnyFault) -> None:
        """
        Faults for the next `POST` requests, one each, after those scripted before; `"ok"` is a normal answer.

        Raises:
            ValueError: No such fault.
        """
        with self._changed:
            self._trouble.script(faults)

    def outage(self, fault: AnyFault = "overloaded", *, after: float = 0.0, seconds: float | None = None) -> Outage:
        """
        Fail every request for a while.

        Args:
            fault: What each gets.
            after: Seconds from now until it begins. Default: now.
            seconds: How long; None: until `recover()`.

        Raises:
            ValueError: No such fault, or a negative time.
        """
        with self._changed:
            return self._trouble.outage(fault, self._now(), after, seconds)

    def recover(self) -> None:
        """End every outage, forget the rest of the script, and be reliable again."""
        with self._changed:
            self._trouble.recover()

    def flaky(self, rate: float, *faults: AnyFault, seed: int = 0) -> None:
        """
        Let a share of the requests fail by chance, with one of the faults each.

        Args:
            rate: From 0 to 1.
            faults: To choose from; default `"overloaded"`.
            seed: The same seed fails the same requests, in the order of their arrival.

        Raises:
            ValueError: A rate outside 0 to 1, or no such fault.
        """
        with self._changed:
            self._trouble.flaky(rate, faults, seed)

    # -- what it saw

    @property
    def requests(self) -> tuple[Received, ...]:
        """Every request so far, in the order of arrival."""
        with self._changed:
            return tuple(self._requests)

    def count(self, path: str = "") -> int:
        """Requests so far whose path ends like this."""
        return sum(each.path.endswith(path) for each in self.requests)

    @property
    def prompts(self) -> list[str]:
        """The last user message, or the texts to embed, of every request so far."""
        return [text for each in self.requests for text in _questions(each.body)]

    @property
    def disconnects(self) -> int:
        """Requests whose client went away before it had the whole reply."""
        return sum(each.state == "left" for each in self.requests)

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""
        return sum(each.state == "open" for each in self.requests)

    @property
    def connections(self) -> int:
        """Connections that are open now, idle ones of a client's pool included."""
        with self._changed:
            return self._connections

    def forget(self) -> None:
        """Forget the requests that are over."""
        with self._changed:
            self._requests = [each for each in self._requests if each.state == "open"]

    async def until(self, claim: Callable[[FakeProvider], object], *, seconds: float = 5.0) -> None:
        """
        Wait until a claim about this provider is true: `await provider.until(lambda it: it.disconnects == 1)`.

        The server's thread sees a disconnect a moment after the client has made it; this is how a test waits for it.

        Raises:
            TimeoutError: It was still not true after so many (real) seconds.
        """

        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: bool(claim(self)), seconds)

        if not await anyio.to_thread.run_sync(wait, abandon_on_cancel=True):
            raise TimeoutError(f"not so within {seconds:g} s: {self!r}")

    def __repr__(self) -> str:
        place = f"on port {self._port}" if self._running is not None else "not running"
        return f"<FakeProvider {self.name!r} {place}: {len(self._requests)} requests>"

    # -- the server's side

    async def _serve(self, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener:
            port = listener.extra(SocketAttribute.local_port)
            with anyio.CancelScope() as scope:
                task_status.started((port, scope))
                await listener.serve(self._client)

    async def _client(self, stream: SocketStream) -> None:
        self._count(1)
        try:
            async with stream:
                connection = Connection(stream)
                while (request := await connection.receive()) is not None:
                    if not await self._handle(connection, request):
                        break
        finally:
            self._count(-1)

    def _count(self, connections: int) -> None:
        with self._changed:
            self._connections += connections
            self._changed.notify_all()

    async def _handle(self, connection: Connection, request: HTTPRequest) -> bool:
        """Answer one request; whether the connection can take another."""
        received, fault = self._take(request)
        try:
            return await self._answer(connection, request, received, fault)
        except ClientLeftError:
            self._end(received, "left")
            return False
        except Exception as error:  # noqa: BLE001 - the user's `answer`, or a body that makes no sense; the server lives on
            told = f"{self!r} could not answer: {type(error).__name__}: {error}".encode()
            await connection.reply(500, {"connection": "close"}, told)  # or the client's next request comes too late
            return False
        finally:
            self._end(received, "done")

    def _end(self, received: Received, state: Literal["done", "left"]) -> None:
        """Note how a request ended; the first to say so is right."""
        with self._changed:
            if received.state == "open":
                received.state = state
                self._changed.notify_all()

    def _take(self, request: HTTPRequest) -> tuple[Received, Fault | None]:
        try:
            body = json.loads(request.body) if request.body else None
        except ValueError:
            body = request.body.decode("latin-1")
        headers = {name: "[secret]" if name in _SECRET_HEADERS else value for name, value in request.headers.items()}
        stream = isinstance(body, dict) and bool(body.get("stream"))
        with self._changed:
            now = self._now()
            api = api_of(request.path, request.headers)
            fault = self._trouble.strike(now, scripted=request.method == "POST", api=api)
            received = Received(request.method, request.path, body, headers, now, stream)
            received.fault = fault.name if fault is not None else None
            self._requests.append(received)
            self._changed.notify_all()
        return received, fault

    async def _answer(
        self, connection: Connection, request: HTTPRequest, received: Received, fault: Fault | None
    ) -> bool:
        wait = (fault.delay if fault is not None else 0.0) + self.latency
        if wait:
            await connection.attended(lambda: anyio.sleep(wait))
        if fault is None or fault.then == "answer" or fault.after_items is not None:
            say = answer(request.method, request.path, request.headers, received.body, self._say)
            if isinstance(say, Fault):
                fault, say = say, Answer()
            elif say.body is None:
                return await self._stream(connection, request, received, say, fault)
            elif fault is None or fault.then == "answer":
                received.status = 200
                self._end(received, "done")  # before the client can have read it and looks here
                await connection.reply(200, {"content-type": "application/json"}, json.dumps(say.body).encode())
                return True
            else:
                return await self._fail(connection, received, fault, json.dumps(say.body))
        return await self._fail(connection, received, fault, "")

    async def _fail(self, connection: Connection, received: Received, fault: Fault, text: str) -> bool:
        """The fault of a plain request."""
        if fault.then == "reply":
            received.status = fault.status
            body = fault.body if isinstance(fault.body, str) else json.dumps(fault.body)
            self._end(received, "done")
            await connection.reply(fault.status, moments(fault.headers), body.encode())
            return True
        if fault.then == "stall":
            await connection.attended(anyio.sleep_forever)
        elif fault.then == "reset":
            await connection.reset()
        else:
            received.status = 200
            await connection.reply(200, {"content-type": "application/json"}, text.encode(), torn=True)
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
                if self.item_seconds and number:
                    await anyio.sleep(self.item_seconds)
                await connection.frame(frame)
                received.items += 1
            with self._changed:
                self._changed.notify_all()
            if fault is None or fault.then != "stall":
                self._end(received, "done")
            if fault is None or fault.then == "answer":
                for frame in say.tail:
                    await connection.frame(frame)
                await connection.end_stream()
            elif fault.then == "reply":
                await connection.frame(stream_error(api_of(request.path, request.headers), fault.body))
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


def _questions(body: Any) -> list[str]:
    if not isinstance(body, dict):
        return []
    if "input" in body:
        return [body["input"]] if isinstance(body["input"], str) else list(body["input"])
    if isinstance(body.get("prompt"), str):
        return [body["prompt"]]
    users = [each.get("content") for each in body.get("messages") or [] if each.get("role") == "user"]
    return [users[-1]] if users and isinstance(users[-1], str) else []
