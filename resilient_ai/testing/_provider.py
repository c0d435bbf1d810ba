"""`FakeProvider`: an AI provider on loopback, with scripted faults."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import anyio
from anyio.from_thread import start_blocking_portal

from resilient_ai._core.public import public

from ._apis.dispatch import questions
from ._apis.question import ByTheBook
from ._received import Received, RequestLog
from ._server import Pace, Server
from ._trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from resilient_ai._core.clock import Clock

    from ._apis.answers import Say
    from ._trouble import AnyFault, Outage


@public("testing")
class FakeProvider:
    """
    A real HTTP server on loopback with the wire formats of OpenAI (chat, Responses, embeddings), Anthropic and Google,
    including streams.

    It runs in a thread of its own, for clients on any event loop, in any thread, on asyncio or trio. It starts with
    `with` (or `async with`, or `start()`) and stops at the end of the block. Answers depend on the question only: chat
    answers `"[name] question"`, and texts with common words have similar embeddings. A request with tools gets a call
    of the first one (or of the required one), with arguments made from its schema; with the tool's results, the answer
    is `"[name] question: results"`. A request with a JSON schema gets JSON that fits, whose strings are the answer.

    Each request gets the first of these faults: the next entry of the script (`POST` only), that of a current outage, a
    random one of `flaky`. A fault is a `Fault`, an HTTP status, or the name of a real reply (`fault_names()`); a name
    without the provider (`"overloaded"`) gives a reply of the API in use. It may also be an unusable answer: a
    `FakeAnswer`, or "refusal", "filtered", "length".

    Args:
        name: A name in the answers, which shows a test which region answered. Default "fake".
        answer: A function from the question to the text of the answer, or to a `FakeAnswer`; default as above.
        latency: Seconds before every answer. Default 0.
        item_seconds: Seconds between the items of a stream. Default 0.
        clock: The clock for schedules of outages, such as a `VirtualClock`; delays are always in real seconds. Default:
            the machine's monotonic clock.

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
        answer: Say | None = None,
        latency: float = 0.0,
        item_seconds: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.latency = latency
        self.item_seconds = item_seconds
        self._now = clock.now if clock is not None else time.monotonic
        self._log = RequestLog()
        self._trouble = Trouble()
        self._server = Server(
            self.__repr__,
            answer if answer is not None else ByTheBook(name),
            self._log,
            self._trouble,
            self._now,
            lambda: Pace(self.latency, self.item_seconds),
        )
        self._running: ExitStack | None = None
        self._port = 0

    # -- start and stop

    def start(self) -> Self:
        """
        Listen on a free port until `close()`.

        Raises:
            RuntimeError: It is already running.
        """
        if self._running is not None:
            raise RuntimeError(f"{self!r} runs already")
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal("asyncio"))
            _, (self._port, scope) = portal.start_task(self._server.serve)
            stack.callback(portal.call, scope.cancel)
            self._running = stack.pop_all()
        return self

    def close(self) -> None:
        """Stop listening and close every connection. May be called twice."""
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
        # Blocks for a few milliseconds until the server's thread has ended, which needs nothing from this loop.
        self.close()

    @property
    def url(self) -> str:
        """
        `http://127.0.0.1:port`: the `base_url` for the anthropic SDK.

        Raises:
            RuntimeError: It is not running.
        """
        if self._running is None:
            raise RuntimeError(f"{self!r} does not run; use `with` or call .start()")
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:port/v1`: the `base_url` for the openai SDK."""
        return f"{self.url}/v1"

    # -- faults

    def script(self, *faults: AnyFault) -> None:
        """
        Add faults for the next `POST` requests, one each, after those already scripted; `"ok"` is a normal answer.

        Raises:
            ValueError: There is no such fault.
        """
        with self._log.changed:
            self._trouble.script(faults)

    def outage(self, fault: AnyFault = "overloaded", *, after: float = 0.0, seconds: float | None = None) -> Outage:
        """
        Fail every request for a while.

        Args:
            fault: The fault of each request. Default `"overloaded"`.
            after: Seconds from now until it begins. Default 0.
            seconds: Its duration; None: until `recover()`. Default None.

        Raises:
            ValueError: There is no such fault, or a time is negative.
        """
        with self._log.changed:
            return self._trouble.outage(fault, self._now(), after, seconds)

    def recover(self) -> None:
        """End every outage and random faults, and drop the rest of the script."""
        with self._log.changed:
            self._trouble.recover()

    def flaky(self, rate: float, *faults: AnyFault, seed: int = 0) -> None:
        """
        Let a random share of the requests fail, each with a random one of the faults.

        Args:
            rate: Share of the requests, 0 to 1.
            faults: The faults; default `"overloaded"`.
            seed: Seed of the random choices; the same seed fails the same requests, by order of arrival. Default 0.

        Raises:
            ValueError: The rate is not in 0 to 1, or there is no such fault.
        """
        with self._log.changed:
            self._trouble.flaky(rate, faults, seed)

    # -- received requests

    @property
    def requests(self) -> tuple[Received, ...]:
        """Every request so far, in the order of arrival."""
        with self._log.changed:
            return tuple(self._log.requests)

    def count(self, path: str = "") -> int:
        """Number of requests so far whose path ends with `path`."""
        return sum(each.path.endswith(path) for each in self.requests)

    @property
    def prompts(self) -> list[str]:
        """The last user message, or the texts to embed, of every request so far."""
        return [text for each in self.requests for text in questions(each.path, each.body)]

    @property
    def disconnects(self) -> int:
        """Number of requests whose client left before the whole reply was sent."""
        return sum(each.state == "left" for each in self.requests)

    @property
    def in_flight(self) -> int:
        """Number of requests that are being answered."""
        return sum(each.state == "open" for each in self.requests)

    @property
    def connections(self) -> int:
        """Number of open connections, including idle ones of a client's pool."""
        with self._log.changed:
            return self._log.connections

    def forget(self) -> None:
        """Forget the requests that have ended."""
        with self._log.changed:
            self._log.requests = [each for each in self._log.requests if each.state == "open"]

    async def until(self, claim: Callable[[FakeProvider], object], *, seconds: float = 5.0) -> None:
        """
        Wait until a claim about this provider is true: `await provider.until(lambda it: it.disconnects == 1)`.

        For tests, because the server's thread notices a disconnect a little later than the client makes it.

        Args:
            claim: Called with this provider.
            seconds: Most real seconds to wait. Default 5.

        Raises:
            TimeoutError: It was not true in that time.
        """

        def wait() -> bool:
            with self._log.changed:
                return self._log.changed.wait_for(lambda: bool(claim(self)), seconds)

        if not await anyio.to_thread.run_sync(wait, abandon_on_cancel=True):
            raise TimeoutError(f"not so within {seconds:g} s: {self!r}")

    def __repr__(self) -> str:
        place = f"on port {self._port}" if self._running is not None else "not running"
        return f"<FakeProvider {self.name!r} {place}: {len(self._log.requests)} requests>"
