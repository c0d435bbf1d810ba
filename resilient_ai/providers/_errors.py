"""The errors of an endpoint if the provider's reply contains no answer, or an unusable one."""

from __future__ import annotations

from typing import Any

from resilient_ai._core.errors import ErrorType, ResilienceError
from resilient_ai._core.public import public
from resilient_ai._usage.reply import Reply


@public("providers")
class EndpointReplyError(Exception):
    """
    A provider's reply without an answer: an error status, or a success without the expected content.

    Attributes:
        name: The endpoint.
        status_code: HTTP status.
        body: The reply as data, as far as it could be read; never printed.
        response: The HTTP client's response, if any.
        error_type: The error type, if neither status nor body show it; else None.
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
        # Without the response, which holds sockets and locks.
        return type(self), (self.name, self.status_code, self.body), state


@public("providers")
class ContentFilterError(ResilienceError):
    """
    The provider answered, but its model refused, or a filter removed the answer.

    Attributes:
        name: The endpoint.
        reply: The text of the refusal, or what the filter left; never printed.
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
    The provider answered, but not in the required form.

    Attributes:
        name: The endpoint.
        reply: The original answer; never printed.
        problems: Kinds of problems ("missing", "json_invalid", …), never values.
    """

    error_type = ErrorType.INVALID_OUTPUT

    def __init__(self, name: str, reply: Reply, problems: tuple[str, ...]) -> None:
        kinds = ", ".join(dict.fromkeys(problems)) or "unknown"
        cut = "; it was cut, a larger max_tokens may help" if reply.finish_reason == "length" else ""
        super().__init__(f"the answer of endpoint {name!r} does not have the form that was asked for ({kinds}){cut}")
        self.name = name
        self.reply = reply
        self.problems = problems
