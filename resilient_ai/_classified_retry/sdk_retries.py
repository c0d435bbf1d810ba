"""
Detect SDK clients that retry by themselves, and name the setting that stops each: nested retries multiply.

A client whose method is decorated is detected at decoration; others by an error that comes back after their retries.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from resilient_ai._core.call_warnings import warn_in_a_call
from resilient_ai._core.errors import DoubleRetryWarning


def own_retries(fn: Any) -> tuple[str, int, str] | None:
    """
    The retries that a client makes by itself when one of its methods is called.

    Args:
        fn: A bound method of an SDK client, or a partial or wrapper of one.

    Returns:
        The SDK, its most requests for one call, and how to reduce that to one; None if it makes only one, or if no
        client is found.
    """
    for owner in _owners(fn):
        sdk = type(owner).__module__.partition(".")[0]
        if sdk not in _SWITCHES:
            continue
        count, switch = _SWITCHES[sdk]
        try:
            requests = count(owner)
        except Exception:  # noqa: BLE001 - another version of the SDK is built differently
            requests = None
        if isinstance(requests, int) and requests > 1:
            return sdk, requests, switch
    return None


class OwnRetries:
    """
    Warns the user of one call site whose client retries by itself.

    Attributes:
        told: Whether it has warned already.
    """

    __slots__ = ("told",)

    def __init__(self) -> None:
        self.told = False

    def look(self, error: BaseException, function: str) -> None:
        """Warn, once, if an error comes from a client that has sent its request more than once."""
        # Most errors of other clients have none of these attributes; searching them would cost ten bare awaits. The
        # attributes are not read: a property of httpx's raises if there is no value.
        own = error.__dict__
        if error.__cause__ is None and not ("request" in own or "errors" in own or _has_either(type(error))):  # type: ignore[arg-type]
            return
        if self.told or (found := _sent_again(error)) is None:
            return
        self.told = True
        sdk, times = found
        _, switch = _SWITCHES.get(sdk, (None, _MAX_RETRIES))
        warn_in_a_call(
            f"the {sdk} client that {function} calls retries by itself: one attempt here was {times + 1} requests"
            f" there; switch that off with {switch}",
            DoubleRetryWarning,
        )


@functools.lru_cache(512)
def _has_either(kind: type) -> bool:
    return hasattr(kind, "request") or hasattr(kind, "errors")


def _sent_again(error: BaseException) -> tuple[str, int] | None:
    """
    The SDK of an error, and how often it had sent the request again; None if it had not, or if that is unknown.

    SDKs made by Stainless (OpenAI, Anthropic and others) count their retries in a request header. Errors within a
    group, and causes, are searched too.
    """
    queue: list[Any] = [error]
    for each in queue:
        try:
            times = int(each.request.headers["x-stainless-retry-count"])
        except Exception:  # noqa: BLE001 - no such request, and a property of httpx raises without one
            times = 0
        if times > 0:
            return type(each).__module__.partition(".")[0], times
        inner = [each.__cause__, *_several(each)]
        queue.extend(other for other in inner if isinstance(other, BaseException) and len(queue) < _MOST_ERRORS)
    return None


def _several(error: Any) -> list[Any]:
    """The errors of a failover's endpoints, or of a group."""
    try:
        errors = getattr(error, "errors", None)
        return list(errors.values()) if isinstance(errors, dict) else list(getattr(error, "exceptions", ()))
    except Exception:  # noqa: BLE001 - a property of somebody else's
        return []


_MOST_ERRORS = 50


def _owners(fn: Any) -> list[Any]:
    """The objects that the function, and everything it wraps, are bound to."""
    owners: list[Any] = []
    queue = [fn]
    seen = 0
    while queue and seen < 50:
        each = queue.pop(0)
        seen += 1
        owner = getattr(each, "__self__", None)
        if owner is not None and not isinstance(owner, type):
            owners.append(owner)
        for name in ("__wrapped__", "func"):
            inner = getattr(each, name, None)
            if callable(inner) and (name != "func" or isinstance(each, functools.partial)):
                queue.append(inner)
        # cohere hides its methods in closures
        if str(getattr(each, "__module__", "")).partition(".")[0] in _SWITCHES:
            cells = getattr(each, "__closure__", None) or ()
            queue.extend(inner for cell in cells if callable(inner := _content(cell)))
    return owners


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the cell is still empty
        return None


def _stainless(owner: Any) -> int:
    client = getattr(owner, "_client", owner)
    return int(client.max_retries) + 1


def _cohere(owner: Any) -> int:
    wrapper = getattr(owner, "_client_wrapper", None) or owner._raw_client._client_wrapper
    return int(wrapper.get_max_retries()) + 1


def _boto(owner: Any) -> int:
    retries = owner.meta.config.retries or {}
    default = 3 if retries.get("mode") in ("standard", "adaptive") else 5
    return int(retries.get("total_max_attempts") or default)


def _google(owner: Any) -> int:
    options = owner._api_client._http_options.retry_options
    return 1 if options is None else int(options.attempts if options.attempts is not None else 5)


_MAX_RETRIES = "client.with_options(max_retries=0)"
_BOTO = 'Config(retries={"total_max_attempts": 1, "mode": "standard"})'
_SWITCHES: dict[str, tuple[Callable[[Any], int], str]] = {
    "openai": (_stainless, _MAX_RETRIES),
    "anthropic": (_stainless, _MAX_RETRIES),
    "groq": (_stainless, _MAX_RETRIES),
    "together": (_stainless, _MAX_RETRIES),
    "cohere": (_cohere, 'request_options={"max_retries": 0}'),
    "aiobotocore": (_boto, _BOTO),
    "botocore": (_boto, _BOTO),
    "google": (_google, "HttpRetryOptions(attempts=1)"),
}
