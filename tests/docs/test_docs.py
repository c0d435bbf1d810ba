"""Every example that a reader can copy runs: README, the pages and the scripts in examples/."""

from __future__ import annotations

import ast
import doctest
import inspect
import io
import os
import re
import sys
import traceback
import types
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio
import pytest

if __name__ != "__main__":  # else a page of this file, without the tests
    from tests.docs.forked import Forks, run_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.docs.forked import Done

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", *sorted(EXAMPLES.glob("*.md"))]
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
BLOCK = re.compile(r"^```(python|pycon)\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
FLEXIBLE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
LOG_LINE = re.compile(r"^\S*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d.*resilient_ai\.\w+.*\n", re.MULTILINE)

WITHOUT_A_LOOP = {"plain_functions.md"}


class Block(NamedTuple):
    """A block of code in a page, and what it prints if the page says so."""

    page: str
    line: int
    language: str
    code: str
    output: str | None


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page.name, text.count("\n", 0, found.start()) + 1, found[1], found[2], found[3])
        for found in BLOCK.finditer(text)
    ]


async def run(source: str, name: str, mode: str, namespace: dict[str, object]) -> None:
    """Run code that may await at its top level, as `python -m asyncio` does."""
    code = compile(source, name, mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    awaitable = types.FunctionType(code, namespace)()
    if inspect.isawaitable(awaitable):
        await awaitable


async def run_session(block: Block, namespace: dict[str, object]) -> None:
    """Run the prompts of a session and compare what they show."""
    for number, example in enumerate(doctest.DocTestParser().get_examples(block.code), 1):
        place = f"{block.page}:{block.line + example.lineno + 1}"
        shown = io.StringIO()
        try:
            with redirect_stdout(shown):
                await run(example.source, f"<{place}>", "single", namespace)
        except Exception as error:
            shown.write("Traceback (most recent call last):\n")
            shown.write("".join(traceback.format_exception_only(error)))
            wanted = example.want.replace("    ...\n", "")
        else:
            wanted = example.want
        got = quiet(shown)

        assert matches(wanted, got), f"{place}, prompt {number}: {example.source}--- page\n{wanted}--- really\n{got}"


def quiet(shown: io.StringIO) -> str:
    """What was printed, without structlog's lines: they carry moments."""
    return LOG_LINE.sub("", shown.getvalue())


def matches(page: str, really: str) -> bool:
    """Equal but for white space, `...`, and how long things took."""
    page, really = (re.sub(r"[\d,.]+ (m?s)\b", r"# \1", text) for text in (page, really))
    return doctest.OutputChecker().check_output(page, really, FLEXIBLE)


async def run_page(page: Path) -> None:
    namespace: dict[str, object] = {"__name__": "page"}
    for block in blocks_of(page):
        if FILE.match(block.code) is not None:
            continue
        if block.language == "pycon":
            await run_session(block, namespace)
            continue
        shown = io.StringIO()
        with redirect_stdout(shown):
            # Plain code, and what brings a loop of its own, has none around it.
            if page.name in WITHOUT_A_LOOP or re.search(r"^anyio\.run\(", block.code, re.MULTILINE):
                await anyio.to_thread.run_sync(exec, compile(block.code, block.page, "exec"), namespace)
            else:
                await run(block.code, f"<{block.page}:{block.line}>", "exec", namespace)
        if block.output is not None:
            got = quiet(shown)
            assert matches(block.output, got), f"{block.page}:{block.line}--- page\n{block.output}--- really\n{got}"


# The first call of a process has the imports in its time, which this page shows; it needs a process that has none.
IN_A_FRESH_PROCESS = {"repl_session.md"}


def without_keys() -> dict[str, str]:
    """The environment without keys, and with this checkout's package, whichever is installed."""
    return {
        **{name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")},
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture(scope="module")
def run_offline() -> Iterator[Callable[..., Done]]:
    """Run a script in a process of its own that knows no keys."""
    forks = Forks(ROOT, without_keys())
    yield forks.run
    forks.close()


# Pages about other people's packages, which the extra `guides` brings, and are left out where that does not install.
NEEDS = {
    "fastapi.md": ["fastapi"],
    "frameworks.md": ["pydantic_ai", "langchain_openai", "litellm", "instructor"],
    "plain_functions.md": ["celery"],
    "web_frameworks.md": ["django", "flask"],
}

# Blocks that are files of a project begin with their path; a test of their page's runs them.
FILE = re.compile(r"# ((?:app|tests)/\w+\.py)\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_does_what_it_shows(page, run_offline):
    for package in NEEDS.get(page.name, ()):
        pytest.importorskip(package, reason=f"{page.name} needs the extra guides")
    if page.name in IN_A_FRESH_PROCESS:
        done = run_script(ROOT, without_keys(), __file__, str(page))
    else:
        done = run_offline(__file__, str(page))

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_runs_offline(script, run_offline):
    done = run_offline(str(script))

    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("event=resilient_ai.")] == []  # the log
    assert done.stdout


def test_the_readme_shows_a_stack_early_and_names_every_public_thing_that_decorates():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    early = "\n".join(text.splitlines()[:25])

    assert "```python" in early
    for name in (
        "degrade_to",
        "batched",
        "classified_retry",
        "failover",
        "circuit_breaker",
        "rate_limit",
        "spend_limit",
        "adaptive_limit",
    ):
        assert f"`{name}" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))

    assert [target for target in targets if not (page.parent / target).exists()] == []


if __name__ == "__main__":
    anyio.run(run_page, Path(sys.argv[1]))
