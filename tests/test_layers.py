"""A file imports only from layers below its own, so that nothing knows what stands on it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import resilient_ai

PACKAGE = Path(resilient_ai.__file__).parent
LAYERS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "_errors",
            "_error_copies",
            "_backend",
            "_clock",
            "_events",
            "_checks",
            "_window",
            "_report",
            "_detached",
            "_deadline",
            "_watch",
            "_double_retry",
            "_scrub",
            "_first_item",
            "_loops",
        }
    ),
    frozenset(
        {
            "_provider_rules",
            "_wait_hints",
            "_evidence",
            "_circuit",
            "_circuit_config",
            "_retry_budget",
            "_latency",
            "_pacing",
            "_place",
            "_silence",
            "_limit",
            "_batch",
            "_batch_key",
        }
    ),
    frozenset({"_classify", "_batch_results"}),
    frozenset({"_rungs", "_batcher", "_error_rules", "_words", "_endpoint_health", "_retry_rules", "_results"}),
    frozenset({"_call_key", "_sentences", "_sentiment"}),
    frozenset({"_ladder", "_remembering", "_rules", "_last_answer"}),
    frozenset({"_registry", "_endpoint", "_strategy", "_search", "_hedge", "_health_check"}),
    frozenset({"_degradation", "_retry_state", "_circuit_handle", "_failover_handle"}),
    frozenset({"_good_path"}),
    frozenset({"_policy"}),
    frozenset({"_stack_order"}),
    frozenset({"_stack", "_batch_station"}),
    frozenset(
        {"_circuit_breaker", "_classified_retry", "_batched", "_failover", "_degrade_to", "_adaptive_limit", "_each"}
    ),
    frozenset({"providers", "similar", "testing", "redis", "__init__", "__main__", "_pytest_plugin", "_demo"}),
)
FILES = sorted(path for path in PACKAGE.rglob("*.py"))


def noun(path: Path) -> str:
    """The layer's word for a file: its name, or the folder's below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    if noun(path) == "_registry":  # what its views hold, told to type checkers only
        tree.body = [
            node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level == 1 and path.parent == PACKAGE:
                found |= {module.partition(".")[0]} if module else {alias.name for alias in node.names}
            elif node.level == 0 and module.partition(".")[0] == "resilient_ai":
                rest = module.partition(".")[2]
                found |= {rest.partition(".")[0]} if rest else {"__init__"}
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("resilient_ai.")}
    return found - {noun(path)}


def layer(name: str) -> int:
    for number, names in enumerate(LAYERS):
        if name in names:
            return number
    raise AssertionError(f"{name} has no layer; give it one")


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_a_file_imports_only_from_below(path):
    own = layer(noun(path))
    above = {name for name in imported(path) if layer(name) > own}
    beside = {name for name in imported(path) if layer(name) == own and "_circuit_breaker" in LAYERS[own]}

    assert not above
    assert not beside


@pytest.mark.parametrize(("module", "owner"), [("wrapt", "_stack"), ("tenacity", "_classified_retry")])
def test_a_dependency_has_one_owner(module, owner):
    users = {
        noun(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(alias.name == module for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == module)
    }

    assert users <= {owner}
