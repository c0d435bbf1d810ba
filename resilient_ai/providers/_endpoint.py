"""What all endpoints have in common: one client per event loop, checked parameters, and a repr without keys."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Self, TypeAlias
from urllib.parse import urlsplit

from resilient_ai._core.backend import shielded
from resilient_ai._core.checks import check_number
from resilient_ai._core.deadline import renew_waits
from resilient_ai._core.errors import ParameterError, StreamTruncatedError
from resilient_ai._core.imports import imported
from resilient_ai._core.known_secrets import keep_secret
from resilient_ai._core.loop_clients import client_of, drop, keep
from resilient_ai._core.public import public
from resilient_ai._usage.reply import Reply
from resilient_ai._usage.runs import report_usage

from ._errors import EndpointReplyError
from ._heard import Heard
from ._messages import Prompt, Turn, turns_of
from ._mismatch import SHARED, Siblings
from ._plain_client import LiftedClient, PlainClient
from ._schema import Form
from ._stream import ReplyStream, hands_out_a_stream
from ._sync import SyncEndpoint
from ._tools import Kind, Tools, tools_of

Vector: TypeAlias = list[float]

SECONDS = 120.0


@dataclass(slots=True)
class Asked:
    """
    What one call asks, checked as far as that goes without the SDK.

    Attributes:
        turns: The messages.
        tools: What the model may call.
        form: That the answer must have.
        params: The other parameters, None left out.
        text: The prompt, where it is a text and no messages.
    """

    turns: list[Turn]
    tools: Tools
    form: Form | None
    params: dict[str, Any]
    text: str | None = None


@public("providers")
class ProviderEndpoint(ABC):
    """
    What all endpoints of this module can do; good as the type of a decorated function's `endpoint`.

    Attributes:
        name: Unique among the endpoints of one failover.
        provider: Who is behind it; a filtered request moves on only to another provider.
        model: That is asked; None where the API has but one.
        region: For people.
        weight: Share of calls under `strategy="weighted"`.
        context_window: Tokens; where both declare it, a request that is too long moves on only to a larger one.
        params: Parameters of every call that does not bring its own.
        requests_per_minute: Quota that a `rate_limit` keeps here in place of its own number; None: its own. Set it
            before functions are decorated.
        tokens_per_minute: The same for tokens.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None

    model: str | None

    _extra: ClassVar[str] = ""
    _module: ClassVar[str] = ""
    _kind: ClassVar[Kind] = "openai"
    _hottest: ClassVar[float] = 2
    _embeds: ClassVar[bool] = False
    _plain_client: PlainClient | None = None  # of a twin for plain code

    def __init__(
        self,
        name: str,
        *,
        provider: str,
        region: str | None,
        weight: float,
        context_window: int | None,
        timeout: float,
        params: Mapping[str, object] | None,
        client: Any,
        sync_client: Any = None,
    ) -> None:
        for what, value in (("name", name), ("provider", provider)):
            check_text(f"{what} of an endpoint", value)
        check_number("weight", weight, least=0)
        check_number("context_window", context_window, least=1, whole=True, optional=True)
        check_number("timeout", timeout, above=0)
        if params is not None and not isinstance(params, Mapping):
            raise ValueError(f"params of endpoint {name!r} must be a mapping, got a {type(params).__name__}")
        if client is None and sync_client is None and importlib.util.find_spec(self._module) is None:
            kind = type(self).__name__
            raise ImportError(f"{kind} needs the package {self._module}: pip install 'resilient-ai[{self._extra}]'")
        self.name = name
        self.provider = provider
        self.region = region
        self.weight = weight
        self.context_window = context_window
        self.params: Mapping[str, object] = dict(params or {})
        self._timeout = timeout
        self._given = client
        self._given_sync = sync_client
        self._siblings = Siblings()

    def _keep_secret(self, *keys: str | None, address: str | None, headers: Mapping[str, str] | None = None) -> None:
        """Let no message show a key that the endpoint was given, by itself, in a client, an address or a parameter."""
        attributes = {**self.params, "headers": headers}
        keep_secret(self, *keys, clients=(self._given, self._given_sync), address=address, attributes=attributes)

    async def complete(
        self, prompt: Prompt, *, tools: Sequence[Any] | None = None, schema: Any = None, **params: object
    ) -> Reply:
        """
        One answer.

        Args:
            prompt: A text, or a list of messages in OpenAI's form: each with `role` and `content`, images, calls of
                tools and their results included. Messages in the form of this endpoint's own API are taken too.
            tools: What the model may call, in OpenAI's form or that of this endpoint's own API. The calls that it
                wants are in the reply's `tool_calls`; nothing is called here.
            schema: Form that the answer must have, a pydantic model or a JSON schema; the value is in `parsed`.
            params: `system`, `max_tokens`, `temperature`, `top_p`, `stop`, `timeout` (seconds), `tool_choice`,
                `parallel_tool_calls`, and what else the API takes. None leaves one out that `params=` of this
                endpoint gives.

        Returns:
            The text, which knows more: why it ended, its usage, calls of tools.

        Raises:
            ParameterError: A parameter that the API does not take, or a value that it cannot; nothing was sent.
            MissingKeyError: No API key, neither given nor in the environment.
            ContentFilterError: The model refused, or a filter took the answer away.
            InvalidOutputError: The answer does not have the form that was asked for.
            EndpointReplyError: The reply was no answer.
        """
        client, request, form = await self._prepared(prompt, tools, schema, params)
        heard = Heard(self.name)
        heard.raw = await self._send(client, request)
        self._read(heard.raw, heard)
        self._report(heard)
        return heard.reply(form)

    @hands_out_a_stream
    def stream(
        self, prompt: Prompt, *, tools: Sequence[Any] | None = None, schema: Any = None, **params: object
    ) -> ReplyStream:
        """
        The same answer piece by piece: an async iterator of pieces of text, which has its `reply` once it has ended.

        Leave it early within `contextlib.aclosing` so that it ends at once. Args: as of `complete`.

        Raises:
            StreamTruncatedError: While iterating: the stream ended without its closing event. The errors of
                `complete` are raised while iterating too.
        """
        heard = Heard(self.name)
        return ReplyStream(self._pieces(heard, prompt, tools, schema, params))

    async def embed(self, texts: Sequence[str], **params: object) -> list[Vector]:
        """
        One vector for each text, in order; put `batched` above it.

        Args:
            texts: What to embed.
            params: What the API takes, `dimensions` say, and `timeout` (seconds).

        Raises:
            ParameterError: The API has no embeddings, or does not take a parameter.
        """
        if not self._embeds:
            raise self._wrong(f"the {self._extra} API has no embeddings")
        given = self._checked(params)
        vectors = await self._embed(await self._client(), list(texts), given)
        if len(vectors) != len(texts):
            raise EndpointReplyError(self.name, 200)
        return vectors

    @cached_property
    def sync(self) -> SyncEndpoint:
        """
        The twin for plain code: `us.sync.complete(prompt)` blocks. `failover` hands it to plain functions.

        Raises:
            ValueError: Only an async client was given, which plain code cannot use.
        """
        if self._given is not None and self._given_sync is None:
            raise ValueError(
                f"endpoint {self.name!r} was given an async client, which plain code cannot use; give sync_client= too"
            )
        return SyncEndpoint(self, PlainClient(self._make_sync, self._given_sync, self._lifted))

    def beside(self, endpoints: Sequence[object]) -> None:
        """
        Hear that a failover has these endpoints; it calls this when it is put on a function.

        The first call of each kind is then held against them, and an `EndpointMismatchWarning` names what one of them
        could not take, so that nobody learns of it in an outage.
        """
        self._siblings.meet([each for each in endpoints if isinstance(each, ProviderEndpoint) and each is not self])

    @abstractmethod
    async def check(self) -> None:
        """
        Return if the provider can be reached and knows us, raise if not; costs no tokens.

        A failover keeps an endpoint out for what this raises only where it is the outage itself (no connection, no
        answer in time, 5xx, 429). A key that may not ask this, or an API that has no such question, proves nothing.
        """

    async def aclose(self) -> None:
        """Close the client of this event loop; the next call makes a new one. A client of the user's stays open."""
        client = drop(self)
        if client is not None:
            await self._close(client)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown()})"

    def _shown(self) -> str:
        """Name and what tells endpoints apart; of an address only the host, and never a key."""
        told = {"model": self.model, "host": self._host, "region": self.region}
        return ", ".join([repr(self.name), *(f"{key}={value!r}" for key, value in told.items() if value is not None)])

    @property
    @abstractmethod
    def _host(self) -> str | None: ...

    # -- one call

    @abstractmethod
    def _request(self, asked: Asked) -> dict[str, Any]:
        """What the SDK's method is given; the SDK has been imported."""

    @abstractmethod
    async def _send(self, client: Any, request: dict[str, Any]) -> Any:
        """The SDK's whole result."""

    @abstractmethod
    def _read(self, result: Any, heard: Heard) -> None:
        """Take what a whole result tells."""

    @abstractmethod
    async def _open(self, client: Any, request: dict[str, Any]) -> Any:
        """The SDK's stream."""

    @abstractmethod
    def _hear(self, event: Any, heard: Heard) -> str:
        """Take what an event of a stream tells; its piece of text, or ""."""

    async def _embed(self, _client: Any, _texts: list[str], _params: dict[str, Any], /) -> list[Vector]:
        """The vectors, where the API has any."""
        raise NotImplementedError

    async def _pieces(
        self, heard: Heard, prompt: Prompt, tools: Sequence[Any] | None, schema: Any, params: dict[str, object]
    ) -> AsyncGenerator[str | Reply, None]:
        """Pieces of text, and the reply as the last item."""
        client, request, form = await self._prepared(prompt, tools, schema, params)
        events = await self._open(client, request)
        items = 0
        try:
            async for event in events:
                heard.raw = event
                piece = self._hear(event, heard)
                if piece:
                    items += 1
                    heard.texts.append(piece)
                    yield piece
                else:
                    renew_waits()
        finally:
            with shielded():
                await (events.close if hasattr(events, "close") else events.aclose)()
        if not heard.ended:
            raise StreamTruncatedError(self.name, items=items)
        self._report(heard)
        yield heard.reply(form)

    def _report(self, heard: Heard) -> None:
        """Tell whoever counts, because a function may return something else, and an answer may be refused."""
        if heard.usage is not None:
            report_usage(heard.usage, heard.model or self.model)

    async def _prepared(
        self,
        prompt: Prompt,
        tools: Sequence[Any] | None,
        schema: Any,
        params: dict[str, object],
    ) -> tuple[Any, dict[str, Any], Form | None]:
        asked = self._asked(prompt, tools, schema, params)
        client = await self._client()
        request = self._request(asked)
        call = {"prompt": prompt, "tools": tools, "schema": schema, **params}
        if self._siblings.is_new(call):
            await self._siblings.compare(self, call, plain=self._plain_client is not None)
        return client, request, asked.form

    def _could_take(self, prompt: Prompt, tools: Any, schema: Any, **params: object) -> None:
        """Raise ParameterError if this endpoint could not take such a call; nothing is sent."""
        self._request(self._asked(prompt, tools, schema, params))

    # -- the client

    @abstractmethod
    def _make(self) -> Any:
        """A client, its own retries off."""

    @abstractmethod
    def _make_sync(self) -> Any:
        """A client for plain code, its own retries off."""

    def _lifted(self, client: Any) -> Any:
        """A client for plain code, so that it can be called like an async one."""
        return LiftedClient(client)

    @abstractmethod
    async def _close(self, client: Any) -> None: ...

    async def _client(self) -> Any:
        if self._plain_client is not None:
            if self._module not in sys.modules:
                await imported(self._module, plain=True)
            return self._plain_client.get()
        if self._given is not None:
            return self._given
        client = client_of(self)
        if client is None:
            if self._module not in sys.modules:
                await imported(self._module, plain=False)
                client = client_of(self)
            if client is None:
                client = self._make()
                await keep(self, client)
        return client

    # -- the request

    def _wrong(self, problem: str) -> ParameterError:
        return ParameterError(self.name, problem)

    def _asked(self, prompt: Prompt, tools: object, schema: Any, given: Mapping[str, object]) -> Asked:
        params = self._checked({**self.params, **given})
        turns = turns_of(prompt, self._wrong)
        choice, parallel = params.pop("tool_choice", None), params.pop("parallel_tool_calls", None)
        found = tools_of(tools, choice, parallel, here=self._kind, wrong=self._wrong)
        try:
            form = Form.of(schema) if schema is not None else None
        except ValueError as error:
            raise self._wrong(str(error)) from None
        return Asked(turns, found, form, params, str(prompt) if isinstance(prompt, str) else None)

    def _checked(self, params: dict[str, object]) -> dict[str, object]:
        """The shared parameters, None left out."""
        params = {key: value for key, value in params.items() if value is not None}
        check = {
            "max_tokens": partial(check_number, least=1, whole=True),
            "temperature": partial(check_number, least=0, most=self._hottest),
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

    def _known(
        self, params: Mapping[str, object], takes: Callable[[], frozenset[str]], shared: frozenset[str] = SHARED
    ) -> None:
        """Raise ParameterError for one that the API does not take; its SDK is asked for those that are not shared."""
        for key in params:
            if key not in shared and key not in takes():
                near = difflib.get_close_matches(key, shared | takes(), n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise self._wrong(f"the {self._extra} API takes no parameter {key!r}{hint}")


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
    decided = {"self", "model", "messages", "input", "stream", "tools", "tool_choice", "parallel_tool_calls"}
    return frozenset(inspect.signature(create).parameters) - decided
