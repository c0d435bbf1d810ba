"""Who imports whom: the core knows no policy, policies do not know each other, and nothing imports the rim."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

import resilient_ai

PACKAGE = Path(resilient_ai.__file__).parent
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))
}
FOUNDATION = ("_core", "_classification", "_usage")  # each imports itself and those before it


def imported(name: str) -> set[str]:
    """Modules of the package that a module imports anywhere in its text, type-checking imports included."""
    path = FILES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    package = package.removesuffix(".__init__")
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in FILES else base for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {each for each in found if each.partition(".")[0] == "resilient_ai"} - {name}


def room(name: str) -> str:
    """The folder below the package, or the file where there is none."""
    return name.split(".")[1] if "." in name else "__init__"


def may_import(here: str, there: str) -> bool:
    if here == there:
        return True
    if here in FOUNDATION:
        return there in FOUNDATION[: FOUNDATION.index(here)]
    if here.startswith("_") and (PACKAGE / here).is_dir():  # a policy
        return there in FOUNDATION
    return True  # the registry, the front door and the rim


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_from_below(name):
    above = {each for each in imported(name) if not may_import(room(name), room(each))}

    assert not above
