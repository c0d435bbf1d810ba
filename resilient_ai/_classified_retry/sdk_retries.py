"""Which SDK clients retry by themselves, and the switch that stops each: retries on top of retries multiply."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def own_retries(fn: Any) -> tuple[str, int, str] | None:
    """
    What a client does by itself when one of its methods is called.

    Args:
        fn: A bound method of an SDK client, or a partial or wrapper of one.

    Returns:
        The SDK, its requests for one call at most, and how to make that one; None when it is one, or no client is
        to be seen.
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


def _owners(fn: Any) -> list[Any]:
    """What the function and all that it wraps are bound to."""
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
    except ValueError:  # not filled yet
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
