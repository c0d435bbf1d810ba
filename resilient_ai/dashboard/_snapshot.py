"""The data of the page: rows by call site, and current problems."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from resilient_ai._circuit_breaker.handle import CircuitBreaker
from resilient_ai._circuit_breaker.tickets import CircuitState
from resilient_ai._core.describe import brief, describe
from resilient_ai._core.printable import printable
from resilient_ai._core.wrapper import _wrappers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resilient_ai._core.report import Row
    from resilient_ai._registry import Registry

MOST_KEYS = 20  # most circuits of one call site that are shown, the worst first; the others are counted
_MOST_ROWS = 500
_BAD = ("open", "forced", "resting", "marked", "trial")
_ODD = ("half", "returning", "disabled", "metrics")
_SEVERITY = {
    CircuitState.FORCED_OPEN: 5,
    CircuitState.OPEN: 4,
    CircuitState.HALF_OPEN: 3,
    CircuitState.DISABLED: 2,
    CircuitState.METRICS_ONLY: 2,
    CircuitState.CLOSED: 0,
}


def snapshot(registry: Registry, why: dict[str, str]) -> dict[str, Any]:
    """The present rows as plain values: call sites, each from the outermost policy inwards, then the endpoints."""
    sites: dict[str, list[tuple[float, Any]]] = {}
    for rank, handle in registry.ranked_handles():
        sites.setdefault(handle.call_site or "", []).append((rank, handle))
    shared = sites.pop("", [])
    rows: list[dict[str, Any]] = []
    for site, handles in [*sites.items(), ("", shared)]:
        keyed = [each for _, each in handles if type(each) is CircuitBreaker and each.key is not None]
        single = [(rank, each) for rank, each in handles if type(each) is not CircuitBreaker or each.key is None]
        rows += [_row(site, handle.row(), _refused(handle)) for _, handle in sorted(single, key=lambda each: each[0])]
        if keyed:
            rows += _of_keys(site, keyed)
    for row in rows:
        reason = why.get(row["name"], "") if row["tone"] in ("bad", "odd") else ""
        row["why"] = reason if reason not in row["state"] else ""
    # Of very many rows, those in trouble are shown, and others as far as there is room.
    rows.sort(key=lambda row: row["tone"] not in ("bad", "odd")) if len(rows) > _MOST_ROWS else None
    left_out = max(0, len(rows) - _MOST_ROWS)
    return {"rows": rows[:_MOST_ROWS], "left_out": left_out, "fleet": registry._fleet_line()}


def settings(registry: Registry) -> list[dict[str, Any]]:
    """The settings of each function: its policies, outermost first, and the origin of each value."""
    found = []
    for function in _wrappers:
        if function._self_home.policies[0].registry is not registry:
            continue
        layers = [
            {
                "policy": layer.kind,
                "values": [[name, brief(value), layer.origins[name]] for name, value in layer.settings.items()],
            }
            for layer in describe(function).layers
        ]
        found.append({"site": printable(function._self_home.name), "layers": layers})
    return found


def _of_keys(site: str, circuits: list[CircuitBreaker]) -> Iterable[dict[str, Any]]:
    states = Counter(each.state for each in circuits)
    counts = [each.counts() for each in circuits]
    told = ", ".join(f"{number} {state.value.replace('_', '-')}" for state, number in states.most_common())
    worst = max(states, key=lambda state: _SEVERITY[state])
    yield {
        "site": printable(site),
        "name": site,
        "label": printable(f"{site} ({len(circuits)} keys)"),
        "kind": "circuit_breaker",
        "state": told,
        "tone": "ok" if worst is CircuitState.CLOSED else "bad" if _SEVERITY[worst] >= 4 else "odd",
        "calls": sum(each.ok + each.failed + each.neutral for each in counts),
        "failed": sum(each.failed for each in counts),
        "retried": None,
        "degraded": None,
        "p95": None,
        "fleet": None,
        "folded": True,
    }
    shown = sorted(circuits, key=lambda each: -_SEVERITY[each.state])[:MOST_KEYS]
    yield from (_row(site, each.row(), _refused(each)) for each in shown if each.state is not CircuitState.CLOSED)


def _refused(handle: Any) -> int:
    """Number of calls that a state has refused since it was made."""
    counts = handle.counts() if hasattr(handle, "counts") else None
    return getattr(counts, "rejected", 0) or getattr(counts, "refused", 0)


def _row(site: str, row: Row, refused: int) -> dict[str, Any]:
    return {
        "site": printable(site),
        "name": row.call_site,
        "label": printable(row.call_site),
        "kind": row.policy,
        "state": printable(row.state),
        "tone": _tone(row),
        "calls": row.calls,
        "failed": row.failed,
        "retried": row.retried,
        "degraded": row.degraded,
        "p95": row.p95,
        "fleet": row.more.get("fleet"),
        "refused": refused,
        "folded": False,
    }


def _tone(row: Row) -> str:
    if row.state.startswith(_BAD):
        return "bad"
    if row.alarm or row.state.startswith(_ODD):
        return "odd"
    return "ok" if row.policy in ("circuit_breaker", "endpoint") else "plain"
