"""Find the asyncio tasks that are in an anyio scope, from anyio's own table."""

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
    The asyncio tasks that have been in an anyio scope, by weak references.

    Asking anyio for the deadline of a task costs ten bare awaits; checking that there is no such task costs nothing.
    """
    try:
        states = importlib.import_module("anyio._backends._asyncio")._task_states.data
    except (ImportError, AttributeError):
        return _Every()
    return states  # type: ignore[no-any-return]


class _Every:
    """In place of the table, for other versions of anyio: any task may have been in a scope."""

    def __contains__(self, _task: object) -> bool:
        return True

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def is_in_scope(task: Any, tasks: Collection[Any]) -> bool:
    """Whether an asyncio task may be in a scope now; many were in one before, such as that of an HTTP client."""
    return scope_around(task, tasks) is not None


def scope_around(task: Any, tasks: Collection[Any]) -> Any:
    """The innermost scope around an asyncio task; None without one, something else where anyio does not tell it."""
    if type(tasks) is not dict:
        return tasks
    state = tasks.get(weakref.ref(task))
    return None if state is None else getattr(state, "cancel_scope", state)


def is_outermost(scope: Any) -> bool:
    """Whether no other scope is around a scope of asyncio's, as far as anyio tells."""
    return getattr(scope, "_parent_scope", scope) is None
