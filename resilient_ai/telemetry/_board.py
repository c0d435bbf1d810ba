"""The Grafana board and the alerting rules as files: `python -m resilient_ai grafana`, `... alerts`."""

from __future__ import annotations

import json
from typing import Any

from ._panels import ALERTS, OPENED, PANELS, Panel

_SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
_HEIGHT = {"row": 1, "stat": 4, "timeseries": 8, "state-timeline": 8}
_GREEN, _YELLOW, _RED = "green", "yellow", "red"


def board() -> str:
    """The board as JSON for Grafana 11, which asks for the data source on import."""
    return json.dumps(
        {
            "__inputs": [
                {
                    "name": "DS_PROMETHEUS",
                    "label": "Prometheus",
                    "type": "datasource",
                    "pluginId": "prometheus",
                    "pluginName": "Prometheus",
                }
            ],
            "__requires": [{"type": "grafana", "id": "grafana", "name": "Grafana", "version": "11.0.0"}],
            "title": "resilient_ai",
            "uid": "resilient-ai",
            "tags": ["resilient_ai", "ai"],
            "schemaVersion": 39,
            "editable": True,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "templating": {
                "list": [
                    _variable("call_site", "resilient_ai_calls_total"),
                    _variable("ai_endpoint", "resilient_ai_endpoint_calls_total"),
                ]
            },
            "annotations": {"list": [_opened()]},
            "panels": _laid_out(),
        },
        indent=2,
    )


def alerts() -> str:
    """The rules as YAML, for Prometheus' `rule_files`."""
    lines = ["groups:", "  - name: resilient_ai", "    rules:"]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {json.dumps(alert.query)}",  # a JSON string is also a YAML string
            f"        for: {alert.lasting}",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
            f"          summary: {json.dumps(alert.summary)}",
            f"          description: {json.dumps(alert.action)}",
        ]
    return "\n".join(lines)


def _variable(label: str, metric: str) -> dict[str, Any]:
    return {
        "name": label,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({metric}, {label})", "refId": label},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _opened() -> dict[str, Any]:
    return {
        "name": "Circuit opened",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": _RED,
        "expr": OPENED,
        "step": "60s",
        "titleFormat": "circuit opened",
        "textFormat": "{{call_site}} {{ai_endpoint}}",
    }


def _laid_out() -> list[dict[str, Any]]:
    shown, x, y, row = [], 0, 0, 0
    for number, panel in enumerate(PANELS, 1):
        width, height = (24, 1) if panel.kind == "row" else (panel.width, _HEIGHT[panel.kind])
        if x + width > 24:
            x, y, row = 0, y + row, 0
        place = {"x": x, "y": y, "w": width, "h": height}
        shown.append({"id": number, "gridPos": place, "title": panel.title, "type": panel.kind, **_drawn(panel)})
        x, row = x + width, max(row, height)
    return shown


def _drawn(panel: Panel) -> dict[str, Any]:
    if panel.kind == "row":
        return {"collapsed": False, "panels": []}
    targets = [
        {"refId": chr(65 + index), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
        for index, (query, legend) in enumerate(panel.queries)
    ]
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    options: dict[str, Any] = {}
    if panel.limits is not None:
        defaults["thresholds"] = {"mode": "absolute", "steps": _steps(*panel.limits)}
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "area"}
    elif panel.kind == "timeseries":
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
        defaults["custom"] = {"fillOpacity": 10, "lineWidth": 2, "showPoints": "never"}
    else:
        options = {"showValue": "never", "rowHeight": 0.8, "legend": {"showLegend": False}}
        defaults["color"] = {"mode": "fixed", "fixedColor": "blue"}
    return {
        "datasource": _SOURCE,
        "description": panel.text,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def _steps(warn: float, alarm: float) -> list[dict[str, Any]]:
    if warn > alarm:  # higher is better
        return [{"color": _RED, "value": None}, {"color": _YELLOW, "value": alarm}, {"color": _GREEN, "value": warn}]
    return [{"color": _GREEN, "value": None}, {"color": _YELLOW, "value": warn}, {"color": _RED, "value": alarm}]
