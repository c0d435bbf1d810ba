"""What all endpoints have in common: one client per event loop, checked parameters, and a repr without keys."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

import anyio
from anyio.lowlevel import RunVar

from resilient_ai._core.checks import check_number
from resilient_ai._core.errors import ParameterError
from resilient_ai._core.public import public

Prompt: TypeAlias = str | Sequence[Mapping[str, object]]

SECONDS = 120.0


@public("providers")
class EndpointReplyError(Exception):
    """
    A provider's reply that is no answer: an error status, or a success without what was asked for.

    Attributes:
        name: The endpoint.
        status_code: HTTP status.
        body: The reply as data, as far as it could be read; never printed.
        response: The HTTP client's response, if any.
    """

    def __init__(self, name: str, status_code: int, body: object = None, response: object = None) -> None:
        what = f"status {status_code}" if status_code >= 400 else f"status {status_code} but without an answer"
        super().__init__(f"endpoint {name!r} replied with {what}")
        self.name = name
        self.status_code = status_code
        self.body = body
        self.response = response

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.status_code, self.body)  # a response holds sockets and locks


@public("providers")
class ProviderEndpoint(ABC):
    """
    What all endpoints of this module can do; good as the type of a decorated function's `endpoint`.

    Attributes:
        name: Unique among the endpoints of one failover.
        provider: Who is behind it; a filtered request moves on only to another provider.
        region: For people.
        weight: Share of calls under `strategy="weighted"`.
        context_window: Tokens; a request that is too long moves on only to a larger one.
    """

    _extra = ""
    _module = ""

    def __init__(
        self,
        name: str,
        *,
        provider: str,
        region: str | None,
        weight: float,
        context_window: int | None,
        timeout: float,
        client: Any,
    ) -> None:
        for what, value in (("name", name), ("provider", provider)):
            check_text(f"{what} of an endpoint", value)
        check_number("weight", weight, least=0)
        check_number("context_window", context_window, least=1, whole=True, optional=True)
        check_number("timeout", timeout, above=0)
        if client is None and importlib.util.find_spec(self._module) is None:
            kind = type(self).__name__
            raise ImportError(f"{kind} needs the package {self._module}: pip install 'resilient-ai[{self._extra}]'")
        self.name = name
        self.provider = provider
        self.region = region
        self.weight = weight
        self.context_window = context_window
        self._timeout = timeout
        self._given = client
        # A client's connections belong to the loop that opened them; the endpoint outlives loops.
        self._made: RunVar[Any] = RunVar(f"client of endpoint {name}")

    @abstractmethod
    async def complete(self, prompt: Prompt, **params: object) -> str:
        """
        The text of one answer.

        Args:
            prompt: A text, or a list of messages, each with `role` and `content`.
            params: `system`, `max_tokens`, `temperature`, `top_p`, `stop`, `timeout` (seconds), and what else the
                API takes.

        Raises:
            ParameterError: A parameter that the API does not take, or a value that it cannot; nothing was sent.
            MissingKeyError: No API key, neither given nor in the environment.
        """

    @abstractmethod
    def stream(self, prompt: Prompt, **params: object) -> AsyncGenerator[str, None]:
        """
        The same answer piece by piece. Leave it early within `contextlib.aclosing` so that it ends at once.

        Raises:
            StreamTruncatedError: The stream ended without its closing event.
        """

    @abstractmethod
    async def check(self) -> None:
        """Return if the provider can be reached and knows us, raise if not; costs no tokens."""

    async def aclose(self) -> None:
        """Close the client of this event loop; the next call makes a new one. A client of the user's stays open."""
        client = self._made.get(None)
        if client is not None:
            self._made.set(None)
            await self._close(client)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown()})"

    def _shown(self) -> str:
        """Name and what tells endpoints apart; of an address only the host, and never a key."""
        facts = {"model": getattr(self, "model", None), "host": self._host, "region": self.region}
        return ", ".join([repr(self.name), *(f"{key}={value!r}" for key, value in facts.items() if value)])

    @property
    def _host(self) -> str | None:
        return None

    # -- the client

    @abstractmethod
    def _make(self) -> Any:
        """A client, its own retries off."""

    @abstractmethod
    async def _close(self, client: Any) -> None: ...

    async def _client(self) -> Any:
        if self._given is not None:
            return self._given
        client = self._made.get(None)
        if client is None:
            if self._module not in sys.modules:
                # An SDK takes seconds to import. In a thread, the loop's other tasks and deadlines go on meanwhile.
                await anyio.to_thread.run_sync(importlib.import_module, self._module)
                client = self._made.get(None)
            if client is None:
                client = self._make()
                self._made.set(client)
        return client

    # -- the request

    def _wrong(self, problem: str) -> ParameterError:
        return ParameterError(self.name, problem)

    def _checked(self, params: dict[str, object], *, hottest: float) -> dict[str, object]:
        """The shared parameters, None left out."""
        params = {key: value for key, value in params.items() if value is not None}
        check = {
            "max_tokens": partial(check_number, least=1, whole=True),
            "temperature": partial(check_number, least=0, most=hottest),
            "top_p": partial(check_number, least=0, most=1),
            "timeout": partial(check_number, above=0),
        }
        try:
            for key in check.keys() & params.keys():
                check[key](key, params[key])
        except ValueError as error:
            raise self._wrong(str(error)) from None
        if not isinstance(params.get("system", ""), str):
            raise self._wrong(f"system must be a text, got a {type(params['system']).__name__}")
        stop = params.get("stop", [])
        if not isinstance(stop, str) and not (isinstance(stop, list | tuple) and all(isinstance(s, str) for s in stop)):
            raise self._wrong(f"stop must be a text or a list of texts, got a {type(stop).__name__}")
        return params

    def _known(self, params: Mapping[str, object], takes: frozenset[str]) -> None:
        for key in params:
            if key not in takes:
                near = difflib.get_close_matches(key, takes, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise self._wrong(f"the {self._extra} API takes no parameter {key!r}{hint}")

    def _messages(self, prompt: Prompt) -> list[dict[str, object]]:
        if isinstance(prompt, str):
            if not prompt:
                raise self._wrong("the prompt is empty")
            return [{"role": "user", "content": prompt}]
        if not isinstance(prompt, list | tuple) or not prompt:
            kind = "an empty one" if prompt == [] else f"a {type(prompt).__name__}"
            raise self._wrong(f"a prompt is a text or a list of messages, got {kind}")
        for number, each in enumerate(prompt):
            message: object = each
            if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
                raise self._wrong(f"message {number} must be a mapping with 'role' and 'content'")
        return [dict(each) for each in prompt]


def host_of(url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    return parts.hostname if parts.scheme in ("http", "https") else None


def check_text(what: str, value: object) -> None:
    """Refuse what is not a text, or an empty one."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what} must be a non-empty string, got {value!r}")


def parameters_of(create: Any) -> frozenset[str]:
    """What a method of an SDK takes, without what the endpoint itself decides."""
    return frozenset(inspect.signature(create).parameters) - {"self", "model", "messages", "stream"}
