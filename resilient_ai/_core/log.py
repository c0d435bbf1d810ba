"""The library's log, which never breaks a call: not with a full disk, not with a closed pipe."""

from __future__ import annotations

import contextlib
import sys

import structlog

_logger = structlog.stdlib.get_logger("resilient_ai")


def log(level: str, name: str, /, **fields: object) -> None:
    """
    Write one line.

    Args:
        level: "debug", "info", "warning", "error" or "critical".
        name: What happened, dotted: `resilient_ai.circuit_opened`.
        fields: Plain values.
    """
    try:
        getattr(_logger, level)(name, **fields)
    except Exception as broken:  # noqa: BLE001 - whatever the application's log raises
        with contextlib.suppress(Exception):  # there may be no standard error either
            sys.stderr.write(f"{name} could not be logged: {type(broken).__name__}\n")
