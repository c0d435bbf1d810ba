"""The base class of endpoints: one client per event loop, checked parameters, and a repr without keys."""

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
from resilient_ai._core.kinds import kind_of
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
    One request, checked as far as possible without the SDK.

    Attributes:
        turns: The messages.
        tools: The tools that the model may call.
        form: The required form of the answer; None without one.
        params: The other parameters, without those that are None.
        text: The prompt, if it is a text; None for messages.
    """

    turns: list[Turn]
    tools: Tools
    form: Form | None
    params: dict[str, Any]
    text: str | None = None


@public("providers")
class ProviderEndpoint(ABC):
    """
    Base class of all endpoints of this module; suitable as the type of a decorated function's `endpoint`.

    Attributes:
        name: Unique among the endpoints of one failover.
        provider: Name of the provider; a filtered request moves on only to another provider.
        model: The model; None if the API has only one.
        region: A name for your own use.
        weight: Share of calls under `strategy="weighted"`.
        context_window: Context window in tokens, or None; a request that is too long moves on only to a larger one, if
            both are known.
        params: Default parameters of calls.
        requests_per_minute: The limit that `rate_limit` uses here in place of its own; None: its own. Set it before
            functions are decorated.
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
    _url: str | None  # where the API is; None: the default of the SDK
    _plain_client: PlainClient | None = None  # of the twin for plain code

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
            raise ValueError(f"params of endpoint {name!r} must be a mapping, got {kind_of(params)}")
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
        """Keep keys out of all messages: those given directly, in a client, an address or a parameter."""
        attributes = {**self.params, "headers": headers}
        keep_secret(self, *keys, clients=(self._given, self._given_sync), address=address, attributes=attributes)

    async def complete(
        self, prompt: Prompt, *, tools: Sequence[Any] | None = None, schema: Any = None, **params: object
    ) -> Reply:
        """
        Ask for one answer.

        Args:
            prompt: A text, or a list of messages in OpenAI's form, each with `role` and `content`, including images,
                tool calls and their results. Messages in the form of this endpoint's own API are accepted too.
            tools: The tools that the model may call, in OpenAI's form or that of this endpoint's own API. The calls are
                in the reply's `tool_calls`; they are not executed here.
            schema: Required form of the answer, a pydantic model or a JSON schema; the value is in `parsed`.
            params: `system`, `max_tokens`, `temperature`, `top_p`, `stop`, `timeout` (seconds), `tool_choice`,
                `parallel_tool_calls`, and other parameters of the API. None leaves out a default parameter of this
                endpoint.

        Returns:
            The text, with the finish reason, the usage and the tool calls as attributes.

        Raises:
            ParameterError: A parameter, or its value, that the API does not support; nothing was sent.
            MissingKeyError: No API key, neither given nor in the environment.
            ContentFilterError: The model refused, or a filter removed the answer.
            InvalidOutputError: The answer does not have the required form.
            EndpointReplyError: The reply contains no answer.
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
        Ask for an answer in pieces: an async iterator of pieces of text, with the whole answer in `reply` at its end.

        Use `contextlib.aclosing` to leave it early, so that it ends at once. The arguments are those of `complete`.

        Raises:
            StreamTruncatedError: While iterating: the stream ended without its closing event. The errors of
                `complete` are raised while iterating, too.
        """
        heard = Heard(self.name)
        return ReplyStream(self._pieces(heard, prompt, tools, schema, params))

    async def embed(self, texts: Sequence[str], **params: object) -> list[Vector]:
        """
        One vector for each text, in order; suitable below `batched`.

        Args:
            texts: The texts to embed.
            params: Parameters of the API, such as `dimensions`, and `timeout` (seconds).

        Raises:
            ParameterError: The API has no embeddings, or does not support a parameter.
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
        The twin for plain code: `us.sync.complete(prompt)` blocks. `failover` passes it to plain functions.

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
        Note the endpoints of a failover, which calls this when it is put on a function.

        The first call of each kind is then checked against them, and an `EndpointMismatchWarning` names parameters that
        one of them does not support, so that this is noticed before an outage.
        """
        self._siblings.meet([each for each in endpoints if isinstance(each, ProviderEndpoint) and each is not self])

    @abstractmethod
    async def check(self) -> None:
        """
        Check that the provider can be reached and accepts our key; raises if not. Costs no tokens.

        A failover takes only an outage (no connection, no answer in time, 5xx, 429) as a failed check. A key without
        permission for this request, or an API without it, proves nothing.
        """

    async def aclose(self) -> None:
        """Close the client of this event loop; the next call makes a new one. The user's own client stays open."""
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
        """The identifying attributes for the repr: of an address only the host, and never a key."""
        told = {"model": self.model, "host": host_of(self._url), "region": self.region}
        return ", ".join([repr(self.name), *(f"{key}={value!r}" for key, value in told.items() if value is not None)])

    # -- one call

    @abstractmethod
    def _request(self, asked: Asked) -> dict[str, Any]:
        """The arguments of the SDK's method; the SDK has been imported."""

    @abstractmethod
    async def _send(self, client: Any, request: dict[str, Any]) -> Any:
        """Send a request; returns the SDK's result."""

    @abstractmethod
    def _read(self, result: Any, heard: Heard) -> None:
        """Read a whole result."""

    @abstractmethod
    async def _open(self, client: Any, request: dict[str, Any]) -> Any:
        """Send a request for a stream; returns the SDK's stream."""

    @abstractmethod
    def _hear(self, event: Any, heard: Heard) -> str:
        """Read a stream event; returns its piece of text, or ""."""

    async def _embed(self, _client: Any, _texts: list[str], _params: dict[str, Any], /) -> list[Vector]:
        """The vectors, if the API has embeddings."""
        raise NotImplementedError

    async def _pieces(
        self, heard: Heard, prompt: Prompt, tools: Sequence[Any] | None, schema: Any, params: dict[str, object]
    ) -> AsyncGenerator[str | Reply, None]:
        """Iterate over the pieces of text, with the reply as the last item."""
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
        """Report the usage here, because a function may return something else, and an answer may be rejected."""
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
        """Raise ParameterError if this endpoint does not support such a call; nothing is sent."""
        self._request(self._asked(prompt, tools, schema, params))

    # -- the client

    @abstractmethod
    def _make(self) -> Any:
        """Make a client with its own retries off."""

    @abstractmethod
    def _make_sync(self) -> Any:
        """Make a client for plain code with its own retries off."""

    def _lifted(self, client: Any) -> Any:
        """A client for plain code, lifted so that it can be called like an async one."""
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
        """Check the common parameters; returns them without those that are None."""
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
            raise self._wrong(f"system must be a text, got {kind_of(params['system'])}")
        stop = params.get("stop", [])
        if not isinstance(stop, str) and not (isinstance(stop, list | tuple) and all(isinstance(s, str) for s in stop)):
            raise self._wrong(f"stop must be a text or a list of texts, got {kind_of(stop)}")
        return params

    def _known(
        self, params: Mapping[str, object], takes: Callable[[], frozenset[str]], shared: frozenset[str] = SHARED
    ) -> None:
        """Raise ParameterError for a parameter that the API does not support; its SDK knows the API's own ones."""
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
    """Refuse anything except a non-empty text."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what} must be a non-empty string, got {value!r}")


def parameters_of(create: Any) -> frozenset[str]:
    """The parameters of an SDK's method, without those that the endpoint sets itself."""
    decided = {"self", "model", "messages", "input", "stream", "tools", "tool_choice", "parallel_tool_calls"}
    return frozenset(inspect.signature(create).parameters) - decided
