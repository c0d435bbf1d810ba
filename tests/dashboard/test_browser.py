"""
The live page in a real browser: Debian's chromium, driven by playwright, without network.

With `LIVE_PAGE_SHOTS=folder` the two pictures of `examples/` are made there.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import anyio
import pytest

from resilient_ai import ErrorType, Registry, circuit_breaker
from resilient_ai.dashboard import anyone, dashboard
from resilient_ai.events import OperatorActed
from tests.dashboard.support import US, program
from tests.helpers import ProviderError, scripted

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's package chromium"),
    pytest.mark.usefixtures("provider_errors"),
]
EVIL = "<img src=x onerror=alert(1)>"
WATCH = """
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (each) => window.violations.push(each.violatedDirective));
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Served:
    """An app behind uvicorn in a thread of its own, below a prefix, as a program mounts it."""

    def __init__(self, app, port: int = 0) -> None:
        uvicorn = pytest.importorskip("uvicorn")

        async def mounted(scope, receive, send):
            if scope["type"] == "http":
                scope = {**scope, "root_path": "/ops"}
            await app(scope, receive, send)

        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}/ops"
        self._server = uvicorn.Server(uvicorn.Config(mounted, host="127.0.0.1", port=self.port, log_level="error"))
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self):
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_error):
        self._server.should_exit = True
        self._thread.join()


class Watched:
    """A page of a browser that writes down whatever should not be."""

    def __init__(self, browser, url: str, **choices) -> None:
        self.wrong: list[str] = []
        self.requests: list[str] = []
        self._context = browser.new_context(viewport={"width": 1200, "height": 900}, **choices)
        self.page = self._context.new_page()
        self.page.add_init_script(WATCH)
        self.page.on("console", lambda each: self.wrong.append(each.text) if each.type == "error" else None)
        self.page.on("pageerror", lambda each: self.wrong.append(str(each)))
        self.page.on("dialog", lambda each: (self.wrong.append("a dialog of the browser's"), each.dismiss()))
        self.page.on("request", lambda each: self.requests.append(each.url))
        self.page.goto(url)
        self.page.wait_for_selector("#where:not(:empty)")

    def row(self, name: str):
        return self.page.locator("#states tbody tr").filter(has=self.page.get_by_text(name, exact=True))

    def said(self, text: str) -> None:
        self.page.locator("#said").get_by_text(text).wait_for()

    def close(self) -> None:
        self.wrong += self.page.evaluate("window.violations")
        self._context.close()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def ops():
    """A registry with a circuit of a nasty name, and its page."""
    registry = Registry(listeners=())

    async def us_is_down(endpoint, text):
        if endpoint is US:
            raise ProviderError(ErrorType.MODEL_OVERLOADED)
        return text

    ask = program(registry, us_is_down)
    circuit_breaker(EVIL, registry=registry)(scripted("a"))
    page = dashboard(registry, view=anyone, act=lambda _scope, action: action.do != "disable" and "eve")
    return registry, ask, page


def called(ask, *texts) -> None:
    """In a thread: playwright has a loop of its own in this one."""
    for text in texts:
        thread = threading.Thread(target=anyio.run, args=(ask, text))
        thread.start()
        thread.join()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_of_trouble_is_shown_as_text_with_no_violation_and_no_request_elsewhere(browser, ops, scheme):
    _, ask, app = ops
    called(ask, "a")
    with Served(app) as server:
        watched = Watched(browser, server.url, color_scheme=scheme)
        page = watched.page
        page.locator("#events li").first.wait_for()
        page.locator("#settings summary").click()
        page.locator("#functions dd").first.wait_for()

        assert page.locator("#alarms li").count() == 1
        assert "us-east" in page.locator("#alarms li").inner_text()
        assert page.locator("img").count() == 0
        assert watched.row(EVIL).count() == 1
        assert page.title() == "(1) resilient_ai"
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 26)"
        assert dark is (scheme == "dark")
        watched.close()

    assert watched.wrong == []
    assert [each for each in watched.requests if not each.startswith((server.url, "data:"))] == []


def test_on_a_telephone_nothing_scrolls_sideways(browser, ops):
    _, ask, app = ops
    called(ask, "a")
    with Served(app) as server:
        watched = Watched(browser, server.url)
        watched.page.set_viewport_size({"width": 390, "height": 844})
        watched.page.locator("#events li").first.wait_for()

        assert watched.page.evaluate("document.documentElement.scrollWidth") == 390
        watched.close()


def test_an_action_is_confirmed_by_name_done_and_told(browser, ops):
    registry, _, app = ops
    told = []
    registry.subscribe(told.append)
    with Served(app) as server:
        watched = Watched(browser, server.url)
        page = watched.page
        watched.row("ask[eu-west]").get_by_role("button").click()
        page.get_by_role("button", name="Force open").click()

        assert page.locator("#dialog-head").inner_text() == "Force open: ask[eu-west]?"
        assert registry.circuit_breakers["ask[eu-west]"].state == "closed"
        page.locator("#confirm").click()
        watched.said("Force open ask[eu-west]: done.")
        page.locator("#alarms").get_by_text("force_open by eve").wait_for()
        watched.close()

    assert registry.circuit_breakers["ask[eu-west]"].state == "forced_open"
    assert [each.by for each in told if type(each) is OperatorActed] == ["eve"]
    assert watched.wrong == []


def test_what_is_left_as_it_is_and_what_is_refused_changes_nothing_and_is_said(browser, ops):
    registry, _, app = ops
    with Served(app) as server:
        watched = Watched(browser, server.url)
        page = watched.page
        watched.row("ask[eu-west]").get_by_role("button").click()
        page.get_by_role("button", name="Trip").click()
        page.locator("#cancel").click()
        watched.row("ask[eu-west]").get_by_role("button").click()
        page.get_by_role("button", name="Disable").click()
        page.locator("#confirm").click()
        watched.said("you may not disable this")
        page.wait_for_timeout(2_500)  # polls must not wipe it off

        assert "you may not disable this" in page.locator("#said").inner_text()
        watched.close()

    assert registry.circuit_breakers["ask[eu-west]"].state == "closed"


def test_the_keyboard_alone_does_it(browser, ops):
    registry, _, app = ops
    with Served(app) as server:
        watched = Watched(browser, server.url)
        page = watched.page
        watched.row("ask[eu-west]").get_by_role("button").focus()
        page.wait_for_timeout(2_500)  # two polls later the button still has the focus

        page.keyboard.press("Enter")
        page.keyboard.press("Tab")  # from the first choice to the second: force open
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")  # from leaving it to doing it
        page.keyboard.press("Enter")
        watched.said("Force open ask[eu-west]: done.")
        watched.close()

    assert registry.circuit_breakers["ask[eu-west]"].state == "forced_open"


def test_a_server_that_goes_and_comes_back_is_noticed(browser, ops):
    _, _, app = ops
    with Served(app) as server:
        watched = Watched(browser, server.url)
    watched.page.locator("#health").get_by_text("no answer").wait_for(timeout=10_000)
    with Served(app, server.port):
        watched.page.locator("#health").get_by_text("all is well").wait_for(timeout=10_000)
        watched.close()


def test_ten_minutes_of_an_outage_leave_the_page_as_small_as_it_was(browser, ops):
    """Six hundred polls, as fast as they come, with events in each."""
    registry, _, app = ops
    with Served(app) as server:
        watched = Watched(browser, server.url)
        page, sizes = watched.page, []
        for minute in range(10):
            for second in range(60):
                registry.emit(OperatorActed(f"state {minute} {second}", "endpoint", "mark_up", "eve"))
            page.evaluate("async () => { for (let turn = 0; turn < 60; turn++) { await ask(); } }")
            sizes.append(page.evaluate("document.getElementsByTagName('*').length"))
        watched.close()

    assert sizes[-1] == sizes[4] < 2_000
    assert watched.wrong == []


def test_sigterm_with_a_tab_open_ends_the_server_in_three_seconds(browser, tmp_path):
    port = free_port()
    program_text = f"""
        import uvicorn
        from resilient_ai import registry
        from resilient_ai.dashboard import anyone, dashboard
        uvicorn.run(dashboard(registry, view=anyone), host="127.0.0.1", port={port}, log_level="error")
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program_text)])
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            time.sleep(0.05)
        watched = Watched(browser, f"http://127.0.0.1:{port}/")
        watched.page.wait_for_timeout(1_500)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=3)
        watched.close()
    finally:
        process.kill()
        process.wait()

    assert process.returncode in (0, -signal.SIGTERM)


@pytest.mark.skipif("LIVE_PAGE_SHOTS" not in os.environ, reason="pictures are made on request")
def test_pictures_of_the_page(browser):
    folder, port = pathlib.Path(os.environ["LIVE_PAGE_SHOTS"]), free_port()
    process = subprocess.Popen([sys.executable, "-m", "resilient_ai", "demo", "--live", "--port", str(port)])
    try:
        time.sleep(15)
        for scheme in ("light", "dark"):
            watched = Watched(browser, f"http://127.0.0.1:{port}/", color_scheme=scheme)
            watched.page.locator("#alarms li[data-tone=bad]").nth(2).wait_for(timeout=90_000)
            watched.page.wait_for_timeout(1_000)
            watched.page.screenshot(path=folder / f"live_page_{scheme}.png", full_page=False)
            watched.close()
    finally:
        process.kill()
        process.wait()
