"""Who imports whom: the core knows no policy, policies do not know each other, and nothing imports the rim."""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import resilient_ai

PACKAGE = Path(resilient_ai.__file__).parent
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
FOUNDATION = ("_core", "_classification", "_usage")  # each imports itself and those before it
POLICIES = {path.name for path in PACKAGE.glob("_[!_]*/")} - {*FOUNDATION}


@cache
def imported(name: str) -> frozenset[str]:
    """Modules of the package that a module imports anywhere in its text, type-checking imports included."""
    path = FILES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in FILES else base for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(each for each in found if each.partition(".")[0] == "resilient_ai") - {name}


def room(name: str) -> str:
    """The folder below the package, or the file where there is none."""
    return name.split(".")[1] if "." in name else "__init__"


def may_import(here: str, there: str) -> bool:
    if here == there:
        return True
    if here in FOUNDATION:
        return there in FOUNDATION[: FOUNDATION.index(here)]
    if here in POLICIES:
        return there in FOUNDATION
    return there in (*FOUNDATION, *POLICIES, "_registry") or here != "_registry"  # the rim


def test_a_file_imports_only_from_below():
    above = [(name, each) for name in FILES for each in imported(name) if not may_import(room(name), room(each))]

    assert above == []


def test_no_file_imports_itself_by_way_of_others():
    """The front door imports every policy and is imported by the rim, which nothing inside imports."""
    TopologicalSorter({name: imported(name) - {"resilient_ai"} for name in FILES}).prepare()


def test_the_core_names_no_kind_of_policy():
    """In strings, comments and docstrings neither: whoever adds a policy has nothing to add to the core."""
    # An error type may be called like a policy that prevents it: "rate_limit".
    kinds = "|".join({folder.strip("_") for folder in POLICIES} - {*resilient_ai.ErrorType})
    core = {name: path.read_text() for name, path in FILES.items() if room(name) == "_core"}
    named = {name: words for name, text in core.items() if (words := re.findall(rf"\b({kinds})\b", text))}

    assert len(core) > 20
    assert named == {}
