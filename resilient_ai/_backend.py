"""
Which event loop runs, in anyio's terms.

anyio asks that anew in each of its functions, which takes ten bare awaits, most of what a refusal costs. Inside an
asyncio task there is only one answer, so it is asked for once.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - to know an asyncio task when there is one; everything else is anyio's
from typing import TYPE_CHECKING

from anyio.lowlevel import current_token

if TYPE_CHECKING:
    from anyio.abc import AsyncBackend

_running_loop = asyncio._get_running_loop
_current_task = asyncio.current_task
_asyncio: type[AsyncBackend] | None = None


def backend() -> type[AsyncBackend]:
    """What anyio's functions turn to in the running task."""
    global _asyncio
    loop = _running_loop()
    if loop is None or _current_task(loop) is None:
        return current_token().backend_class
    if _asyncio is None:
        _asyncio = current_token().backend_class
    return _asyncio
