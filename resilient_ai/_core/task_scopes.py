"""Which tasks of asyncio are in a scope of anyio's, as anyio knows it."""

from __future__ import annotations

import importlib
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


@cache
def tasks_with_scopes() -> Collection[Any]:
    """
    The tasks of asyncio that have been in a scope of anyio's, by weak references, as anyio knows them.

    To ask anyio for the deadline of a task takes ten bare awaits, and to see that there is no such task takes none.
    """
    try:
        states = importlib.import_module("anyio._backends._asyncio")._task_states.data
    except (ImportError, AttributeError):
        return _Every()
    return states  # type: ignore[no-any-return]


class _Every:
    """In place of what another version of anyio keeps elsewhere: any task may have been in a scope."""

    def __contains__(self, _task: object) -> bool:
        return True

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def is_in_scope(task: Any, tasks: Collection[Any]) -> bool:
    """Whether a task of asyncio may be in a scope now; many have been in one, such as that of an HTTP client."""
    if type(tasks) is not dict:
        return True
    state = tasks.get(weakref.ref(task))
    return state is not None and getattr(state, "cancel_scope", state) is not None
