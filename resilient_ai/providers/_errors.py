"""What an endpoint raises when the provider's reply is no answer, or none that can be used."""

from __future__ import annotations

from typing import Any

from resilient_ai._core.errors import ErrorType, ResilienceError
from resilient_ai._core.public import public
from resilient_ai._usage.reply import Reply


@public("providers")
class EndpointReplyError(Exception):
    """
    A provider's reply that is no answer: an error status, or a success without what was asked for.

    Attributes:
        name: The endpoint.
        status_code: HTTP status.
        body: The reply as data, as far as it could be read; never printed.
        response: The HTTP client's response, if any.
        error_type: What it means, where neither status nor body tell.
    """

    error_type: ErrorType | None = None

    def __init__(self, name: str, status_code: int, body: object = None, response: object = None) -> None:
        what = f"status {status_code}" if status_code >= 400 else f"status {status_code} but without an answer"
        super().__init__(f"endpoint {name!r} replied with {what}")
        self.name = name
        self.status_code = status_code
        self.body = body
        self.response = response

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"error_type": self.error_type}
        return type(self), (self.name, self.status_code, self.body), state  # a response holds sockets and locks


@public("providers")
class ContentFilterError(ResilienceError):
    """
    The provider answered, but its model refused, or a filter took the answer away.

    Attributes:
        name: The endpoint.
        reply: What came: the words of the refusal, or what the filter left; never printed.
    """

    error_type = ErrorType.CONTENT_FILTER

    def __init__(self, name: str, reply: Reply) -> None:
        what = "refused to answer" if reply.finish_reason == "refusal" else "was stopped by a content filter"
        super().__init__(f"the model at endpoint {name!r} {what}; the error's .reply has what came")
        self.name = name
        self.reply = reply


@public("providers")
class InvalidOutputError(ResilienceError):
    """
    The provider answered, but not in the form that was asked for.

    Attributes:
        name: The endpoint.
        reply: The answer as it came; never printed.
        problems: What is wrong, as kinds of problems ("missing", "json_invalid", …), never values.
    """

    error_type = ErrorType.INVALID_OUTPUT

    def __init__(self, name: str, reply: Reply, problems: tuple[str, ...]) -> None:
        kinds = ", ".join(dict.fromkeys(problems)) or "unknown"
        cut = "; it was cut, a larger max_tokens may help" if reply.finish_reason == "length" else ""
        super().__init__(f"the answer of endpoint {name!r} does not have the form that was asked for ({kinds}){cut}")
        self.name = name
        self.reply = reply
        self.problems = problems
