"""What several files of this folder need."""

from __future__ import annotations

import httpx

from resilient_ai import classify


def reply(status=None, body=None, headers=None, *, name="APIStatusError", module="openai", **attributes):
    """An exception as an SDK builds one."""
    error = type(name, (Exception,), {"__module__": module})("Error")
    error.__dict__.update(attributes)
    if status is not None:
        error.status_code = status
    error.body = body
    if headers is not None:
        error.response = httpx.Response(status or 200, headers=headers)
    return error


def kind(error) -> str:
    return classify(error).error_type.value
