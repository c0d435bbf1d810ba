"""Optional packages for exporting."""

from __future__ import annotations

import importlib
from typing import Any


def need(module: str, extra: str) -> Any:
    """
    Import a module of an optional package.

    Raises:
        ImportError: The package is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"resilient_ai.telemetry needs the package {package} for this: pip install 'resilient-ai[{extra}]'"
        ) from error
