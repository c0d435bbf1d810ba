"""Whether an error says that an endpoint does not support a parameter, which another one may support."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_ai._core.errors import ErrorType, ParameterError

from .evidence import gather
from .phrases import UNSUPPORTED_PARAMETER, compiled
from .provider_rules import plain

if TYPE_CHECKING:
    from .verdict import Verdict

_NAMES = ("unsupported_parameter", "unsupported_value", "unknown_parameter", "extra_forbidden", "value_error.extra")
_CODES = frozenset(map(plain, _NAMES))


def refuses_parameter(error: BaseException, verdict: Verdict) -> bool:
    """
    Whether the endpoint does not support a parameter of the request, so that it cannot serve this call.

    True for our own `ParameterError`, and for a reply with status 400 or 422 that names an unsupported parameter.
    """
    if isinstance(error, ParameterError):
        return True
    if verdict.error_type is not ErrorType.INVALID_REQUEST or verdict.retryable:
        return False
    found = gather(error)
    if found.status not in (400, 422):
        return False
    if not _CODES.isdisjoint(map(plain, found.codes)):
        return True
    return compiled(UNSUPPORTED_PARAMETER).search(found.text) is not None
