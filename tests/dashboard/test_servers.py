"""The live page under a server that runs on asyncio and on trio, below a path of the program's own."""

from __future__ import annotations

import importlib
import socket
from functools import partial

import anyio
import httpx2
import pytest
import sniffio

from resilient_ai.dashboard import anyone, dashboard
from tests.dashboard.support import program

hypercorn = pytest.importorskip("hypercorn")


def below(prefix, page):
    """A program that has the page at a path, as frameworks mount it."""

    async def app(scope, receive, send):
        await page({**scope, "root_path": prefix}, receive, send)

    return app


async def test_hypercorn_serves_the_page_and_what_it_asks_for(registry):
    async def good(endpoint, text):
        return text

    await program(registry, good)("hello")
    serve = importlib.import_module(f"hypercorn.{sniffio.current_async_library()}").serve
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/resilience"
    config = hypercorn.Config.from_mapping(bind=f"fd://{listener.detach()}", errorlog=None, graceful_timeout=1)
    stop = anyio.Event()
    app = below("/resilience", dashboard(registry, view=anyone))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(serve, app, config, shutdown_trigger=stop.wait))
        async with httpx2.AsyncClient(base_url=url) as browser:
            page, script = await browser.get("/"), await browser.get("/app.js")
            snapshot = await browser.get("/snapshot.json")
            stop.set()

    assert (page.status_code, script.status_code) == (200, 200)
    assert "<html" in page.text
    assert {"ask[us-east]"} <= {row["name"] for row in snapshot.json()["rows"]}
