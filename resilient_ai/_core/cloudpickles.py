"""Detect cloudpickle, which would send a wrapper as the code of the function inside."""

from __future__ import annotations

import sys
from typing import Any


def is_cloudpickle(caller: dict[str, Any]) -> bool:
    return "cloudpickle" in caller.get("__name__", "")  # other packages contain copies of it


def is_found_by_name(wrapper: Any, cloudpickle: dict[str, Any]) -> bool:
    """Whether another process can import the function. There `__main__` is another module."""
    module = str(wrapper.__module__)
    by_value = cloudpickle.get("_PICKLE_BY_VALUE_MODULES", ())
    if module == "__main__" or any(module == each or module.startswith(f"{each}.") for each in by_value):
        return False
    found: Any = sys.modules.get(module)
    for part in wrapper.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is wrapper
