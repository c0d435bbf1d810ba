"""
A process that has imported the SDKs, and forks one for each script it is told to run.

Importing the SDKs takes longer than most pages and examples. A child has nothing of the package imported, runs its
script as `python script` does, and ends as that ends.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

SDKS = ("openai", "anthropic", "google.genai", "pytest")  # none of them starts a thread


class Done(NamedTuple):
    """How a script ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def run_script(root: Path, environment: Mapping[str, str], *arguments: str) -> Done:
    """Run a script in an interpreter that has imported nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env=environment,
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Forks:
    """The process that forks, from the outside."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self._folder = TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env=dict(environment),
        )

    def run(self, *arguments: str) -> Done:
        """Run a script with its arguments to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        written = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        self._process.stdin.write(json.dumps([*map(str, written), *arguments]) + "\n")
        self._process.stdin.flush()
        ended = self._process.stdout.readline()

        assert ended, "the process that forks has ended"
        return Done(int(ended), *(path.read_text(encoding="utf-8") for path in written))

    def close(self) -> None:
        self._process.communicate()  # no more scripts come: it ends
        self._folder.cleanup()


def serve() -> list[str] | None:
    """Fork for each line of standard input; return in a child, with its arguments, and in the parent at the end."""
    for name in SDKS:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        stdout, stderr, *arguments = json.loads(line)
        child = os.fork()
        if not child:
            for path, descriptor in ((os.devnull, 0), (stdout, 1), (stderr, 2)):
                opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
                os.dup2(opened, descriptor)
                os.close(opened)
            return arguments
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


if __name__ == "__main__":
    told = serve()
    if told is not None:
        sys.argv[:] = told
        sys.path[0] = str(Path(told[0]).parent)
        runpy.run_path(told[0], run_name="__main__")
