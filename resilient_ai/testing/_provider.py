"""`FakeProvider`: an AI provider on loopback that answers, and fails when and how it is told."""

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
    A real HTTP server on loopback that speaks the wire formats of OpenAI (chat, Responses, embeddings), Anthropic and
    Google, streams included.

    It runs in a thread of its own, so that clients on any event loop, in any thread, on asyncio or trio, can talk
    to it; it starts with `with` (or `async with`, or `start()`) and is gone at the block's end. Answers depend on
    the question alone: chat gives `"[name] question"`, embeddings are near each other when texts share words. A
    request with tools gets a call of the first one (or of the one that it insists on), with arguments made from its
    schema; once the tool's results are there, the answer is `"[name] question: results"`. A request for a JSON schema
    gets JSON that fits, its strings being the answer.

    What goes wrong is decided per request, in this order: the script's next entry (`POST` only), an outage that
    is on, a random fault of `flaky`. A fault is a `Fault`, a bare HTTP status, or the name of a real reply
    (`fault_names()`); without the provider's name in front (`"overloaded"`), the reply fits the API that was asked.
    It may also be an answer that is no good: a `FakeAnswer`, or "refusal", "filtered", "length".

    Args:
        name: Shows in answers, so that a test sees which region spoke.
        answer: From the question to the text of the answer, or to a `FakeAnswer`; default as above.
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
            _, (self._port, scope) = portal.start_task(self._server.serve)
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
        with self._log.changed:
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
        with self._log.changed:
            return self._trouble.outage(fault, self._now(), after, seconds)

    def recover(self) -> None:
        """End every outage, forget the rest of the script, and be reliable again."""
        with self._log.changed:
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
        with self._log.changed:
            self._trouble.flaky(rate, faults, seed)

    # -- what it saw

    @property
    def requests(self) -> tuple[Received, ...]:
        """Every request so far, in the order of arrival."""
        with self._log.changed:
            return tuple(self._log.requests)

    def count(self, path: str = "") -> int:
        """Requests so far whose path ends like this."""
        return sum(each.path.endswith(path) for each in self.requests)

    @property
    def prompts(self) -> list[str]:
        """The last user message, or the texts to embed, of every request so far."""
        return [text for each in self.requests for text in questions(each.path, each.body)]

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
        with self._log.changed:
            return self._log.connections

    def forget(self) -> None:
        """Forget the requests that are over."""
        with self._log.changed:
            self._log.requests = [each for each in self._log.requests if each.state == "open"]

    async def until(self, claim: Callable[[FakeProvider], object], *, seconds: float = 5.0) -> None:
        """
        Wait until a claim about this provider is true: `await provider.until(lambda it: it.disconnects == 1)`.

        The server's thread sees a disconnect a moment after the client has made it; this is how a test waits for it.

        Raises:
            TimeoutError: It was still not true after so many (real) seconds.
        """

        def wait() -> bool:
            with self._log.changed:
                return self._log.changed.wait_for(lambda: bool(claim(self)), seconds)

        if not await anyio.to_thread.run_sync(wait, abandon_on_cancel=True):
            raise TimeoutError(f"not so within {seconds:g} s: {self!r}")

    def __repr__(self) -> str:
        place = f"on port {self._port}" if self._running is not None else "not running"
        return f"<FakeProvider {self.name!r} {place}: {len(self._log.requests)} requests>"
