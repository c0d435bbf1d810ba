"""Collect one answer, from a whole result or from stream events, to make a `Reply`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilient_ai._classification.results import failure_of_end
from resilient_ai._core.errors import ErrorType
from resilient_ai._usage.reply import FinishReason, Reply, ToolCall

from ._errors import ContentFilterError, EndpointReplyError, InvalidOutputError
from ._schema import MisfitError

if TYPE_CHECKING:
    from resilient_ai._core.usage import Usage

    from ._schema import Form

# The finish reasons of all APIs for an answer that ended well or was cut; `classify_result` knows those of failures.
_ENDS: dict[str, FinishReason] = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "eos": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "continuation": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
}


@dataclass(slots=True)
class HeardCall:
    """A tool call, as far as it has been received."""

    id: str = ""
    name: str = ""
    text: str = ""  # its arguments as JSON
    arguments: dict[str, Any] | None = None  # its arguments, if the API sends them parsed


class Heard:
    """
    The received parts of one answer.

    Attributes:
        name: The endpoint.
        texts: Pieces of text.
        refusals: Pieces of a refusal.
        calls: Tool calls, by their key in this API.
        finish: The finish reason; None until known.
        usage: Tokens; None until known.
        model: The model that answered.
        raw: The result, or the last event.
        extra: Data that the vendor needs back with the next message.
        ended: Whether the closing event of a stream has come.
    """

    __slots__ = ("calls", "ended", "extra", "finish", "garbled", "model", "name", "raw", "refusals", "texts", "usage")

    def __init__(self, name: str) -> None:
        self.name = name
        self.texts: list[str] = []
        self.refusals: list[str] = []
        self.calls: dict[object, HeardCall] = {}
        self.finish: FinishReason | None = None
        self.garbled: str | None = None
        self.usage: Usage | None = None
        self.model: str | None = None
        self.raw: Any = None
        self.extra: dict[str, Any] = {}
        self.ended = False

    def call(self, key: object) -> HeardCall:
        """The tool call with that key; a new one for a new key."""
        return self.calls.setdefault(key, HeardCall())

    def ends(self, reason: object, error: object = None) -> None:
        """
        Take in why the answer ended.

        Raises:
            EndpointReplyError: It ended because the provider failed.
        """
        if reason is None:
            return
        word = str(getattr(reason, "value", reason)).lower()
        failure = failure_of_end(word)
        if failure is ErrorType.CONTENT_FILTER:
            self.finish = "refusal" if word == "refusal" else "content_filter"
        elif failure is ErrorType.INVALID_OUTPUT:
            self.garbled = word
        elif failure is not None:
            self.fail(error if error is not None else {"code": word}, None if error is not None else failure)
        elif (end := _ENDS.get(word)) is not None:
            self.finish = end

    def fail(self, error: object, error_type: ErrorType | None = None) -> None:
        """
        Take in an error in place of an answer.

        Args:
            error: The error from the provider.
            error_type: Its type, if the error itself does not show it.

        Raises:
            EndpointReplyError: Always.
        """
        failure = EndpointReplyError(self.name, 200, {"error": plain(error)} if error is not None else None)
        failure.error_type = error_type
        raise failure

    def reply(self, form: Form | None) -> Reply:
        """
        Make the reply.

        Args:
            form: The required form; None without one.

        Raises:
            ContentFilterError: The model refused, or a filter removed the answer.
            InvalidOutputError: It does not have the form, or the arguments of a tool call are not JSON.
        """
        refusal = "".join(self.refusals)
        if refusal or self.finish in ("content_filter", "refusal"):
            finish: FinishReason = "content_filter" if self.finish == "content_filter" else "refusal"
            raise ContentFilterError(self.name, self._reply(refusal or "".join(self.texts), finish))
        calls = self._tool_calls()
        finish_reason: FinishReason | None = "tool_calls" if calls and self.finish != "length" else self.finish
        reply = self._reply("".join(self.texts), finish_reason, calls)
        if self.garbled is not None:
            raise InvalidOutputError(self.name, reply, (self.garbled,))
        if form is not None and not calls:
            try:
                reply.parsed = form.parsed(str(reply))
            except MisfitError as error:
                raise InvalidOutputError(self.name, reply, error.problems) from None
        return reply

    def _reply(self, text: str, finish: FinishReason | None, calls: list[ToolCall] | None = None) -> Reply:
        return Reply(
            text,
            finish_reason=finish,
            usage=self.usage,
            tool_calls=calls or (),
            model=self.model,
            endpoint=self.name,
            raw=self.raw,
            extra=self.extra,
        )

    def _tool_calls(self) -> list[ToolCall]:
        calls: list[ToolCall] = []
        for number, each in enumerate(self.calls.values()):
            arguments = each.arguments if each.arguments is not None else _arguments(each.text)
            if arguments is None:
                if self.finish == "length":
                    break  # the answer was cut within this call
                reply = self._reply("".join(self.texts), self.finish)
                raise InvalidOutputError(self.name, reply, ("json_invalid",))
            calls.append(ToolCall(each.id or f"call_{number}", each.name, arguments))
        return calls


def _arguments(text: str) -> dict[str, Any] | None:
    if not text.strip():
        return {}
    try:
        arguments = json.loads(text)
    except ValueError:
        return None
    return arguments if isinstance(arguments, dict) else None


def plain(error: object) -> object:
    """An error object of an SDK as data."""
    for method in ("model_dump", "to_dict"):
        dump = getattr(error, method, None)
        if callable(dump):
            return dump()
    return error
