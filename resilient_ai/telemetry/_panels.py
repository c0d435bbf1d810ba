"""The panels of the Grafana board and the alerting rules, as Prometheus queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["stat", "timeseries", "state-timeline", "row"]

_SITE = 'call_site=~"$call_site"'
_AT = 'ai_endpoint=~"$ai_endpoint"'
_BOTH = f"{_SITE}, {_AT}"
_RATE = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Panel:
    """
    One panel.

    Attributes:
        title: Its title.
        kind: Grafana's type of panel; "row" is a headline.
        queries: The queries, each with the legend of its series.
        unit: Grafana's name of the unit.
        width: Width in columns, of 24.
        text: A description, shown at the title's mark.
        limits: Values from which a stat is yellow and red. If the first is higher than the second, higher is better.
    """

    title: str
    kind: Kind
    queries: tuple[tuple[str, str], ...] = ()
    unit: str = "short"
    width: int = 8
    text: str = ""
    limits: tuple[float, float] | None = None


def _share(outcomes: str) -> str:
    calls = f'sum(rate(resilient_ai_calls_total{{{_SITE}, outcome=~"{outcomes}"}}[5m]))'
    return f"{calls} / sum(rate(resilient_ai_calls_total{{{_SITE}}}[5m]))"


def _p50_and_p95(metric: str, labels: str, by: str) -> tuple[tuple[str, str], ...]:
    buckets = f"sum by ({by}, le) (rate(resilient_ai_{metric}_seconds_bucket{{{labels}}}{_RATE}))"
    return tuple(
        (f"histogram_quantile({share}, {buckets})", f"{{{{{by}}}}} {name}")
        for share, name in ((0.5, "p50"), (0.95, "p95"))
    )


def _rate(metric: str, labels: str, by: str) -> str:
    return f"sum by ({by}) (rate(resilient_ai_{metric}_total{{{labels}}}{_RATE}))"


# Annotations on all panels.
OPENED = f"sum by (call_site, ai_endpoint) (increase(resilient_ai_circuit_opened_total{{{_SITE}}}[1m])) > 0"

PANELS = (
    Panel("Now", "row"),
    Panel(
        "Answered by the provider",
        "stat",
        ((_share("ok"), ""),),
        "percentunit",
        5,
        "Share of callers' calls of the last 5 minutes that an AI provider answered.",
        (0.99, 0.9),
    ),
    Panel(
        "Answered at all",
        "stat",
        ((_share("ok|degraded"), ""),),
        "percentunit",
        5,
        "The same, with the answers of fallbacks.",
        (0.999, 0.99),
    ),
    Panel(
        "Provider calls per caller's call",
        "stat",
        (
            (
                f"sum(rate(resilient_ai_attempt_duration_seconds_count{{{_SITE}}}[5m]))"
                f" / sum(rate(resilient_ai_calls_total{{{_SITE}}}[5m]))",
                "",
            ),
        ),
        "none",
        5,
        "What retries, failovers and hedges multiply the load by. Below 1: circuits refuse, or callers share batches.",
        (1.2, 2.0),
    ),
    Panel(
        "Circuits open",
        "stat",
        ((f'sum(resilient_ai_circuits{{{_BOTH}, state=~"open|half_open|forced_open"}})', ""),),
        "none",
        4,
        "Circuits that keep calls away from a provider.",
        (1, 2),
    ),
    Panel(
        "Endpoints out",
        "stat",
        ((f'count(resilient_ai_endpoint_state{{{_AT}, state="up"}} == 0) or vector(0)', ""),),
        "none",
        5,
        "Endpoints that rest, come back slowly or were marked down.",
        (1, 2),
    ),
    Panel("Callers", "row"),
    Panel(
        "Calls by how they ended",
        "timeseries",
        ((_rate("calls", _SITE, "call_site, outcome"), "{{call_site}} {{outcome}}"),),
        "reqps",
        12,
    ),
    Panel(
        "Time of a caller's call",
        "timeseries",
        _p50_and_p95("call_duration", _SITE, "call_site"),
        "s",
        12,
        "All attempts and waits together; of streams, until the first content.",
    ),
    Panel(
        "Answers of fallbacks",
        "timeseries",
        ((_rate("degraded", _SITE, "call_site, rung"), "{{call_site}} {{rung}}"),),
        "reqps",
        12,
    ),
    Panel(
        "Failed attempts by type of error",
        "timeseries",
        ((f"sum by (error_type) (rate(resilient_ai_attempts_failed_total{{{_SITE}}}{_RATE})) > 0", "{{error_type}}"),),
        "reqps",
        12,
    ),
    Panel("Endpoints", "row"),
    Panel(
        "Endpoint states",
        "state-timeline",
        ((f"max by (ai_endpoint, state) (resilient_ai_endpoint_state{{{_AT}}}) > 0", "{{ai_endpoint}} {{state}}"),),
        width=12,
    ),
    Panel(
        "Share of failed calls",
        "timeseries",
        (
            (
                f'sum by (ai_endpoint) (rate(resilient_ai_endpoint_calls_total{{{_AT}, outcome="failed"}}{_RATE}))'
                f" / sum by (ai_endpoint) (rate(resilient_ai_endpoint_calls_total{{{_AT}}}{_RATE}))",
                "{{ai_endpoint}}",
            ),
        ),
        "percentunit",
        12,
    ),
    Panel(
        "Failures by type of error",
        "timeseries",
        (
            (
                f"sum by (ai_endpoint, error_type) (rate(resilient_ai_endpoint_failures_total{{{_AT}}}{_RATE})) > 0",
                "{{ai_endpoint}} {{error_type}}",
            ),
        ),
        "reqps",
        12,
    ),
    Panel(
        "Time of one attempt",
        "timeseries",
        _p50_and_p95("attempt_duration", _BOTH, "ai_endpoint"),
        "s",
        12,
    ),
    Panel("Circuits, retries, limits", "row"),
    Panel(
        "Circuit states",
        "state-timeline",
        (
            (
                f"max by (call_site, ai_endpoint, state) (resilient_ai_circuits{{{_BOTH}}}) > 0",
                "{{call_site}} {{ai_endpoint}} {{state}}",
            ),
        ),
        width=12,
    ),
    Panel(
        "Refused by circuits",
        "timeseries",
        (
            (
                f'sum by (call_site, ai_endpoint) (rate(resilient_ai_circuit_calls_total{{{_BOTH}, outcome="rejected"}}{_RATE}))',
                "{{call_site}} {{ai_endpoint}}",
            ),
        ),
        "reqps",
        12,
    ),
    Panel(
        "Retries, and calls that they saved",
        "timeseries",
        (
            (_rate("retries", _SITE, "call_site"), "{{call_site}} retries"),
            (_rate("retries_recovered", _SITE, "call_site"), "{{call_site}} saved"),
        ),
        "reqps",
        12,
    ),
    Panel(
        "Budget for retries",
        "timeseries",
        ((f"min by (call_site) (resilient_ai_retry_budget{{{_SITE}}})", "{{call_site}}"),),
        "none",
        12,
        "Tokens that are left. At zero nothing is retried: the outage is the provider's, and retries would make it worse.",
    ),
    Panel(
        "Calls that moved to another endpoint",
        "timeseries",
        ((_rate("failovers", _SITE, "call_site"), "{{call_site}}"),),
        "reqps",
        12,
    ),
    Panel(
        "Limit: allowed, in flight, waiting",
        "timeseries",
        (
            (
                f"sum by (call_site, ai_endpoint) (resilient_ai_limit_size{{{_BOTH}}})",
                "{{call_site}} {{ai_endpoint}} allowed",
            ),
            (
                f"sum by (call_site, ai_endpoint) (resilient_ai_limit_in_flight{{{_BOTH}}})",
                "{{call_site}} {{ai_endpoint}} in flight",
            ),
            (
                f"sum by (call_site, ai_endpoint) (resilient_ai_limit_waiting{{{_BOTH}}})",
                "{{call_site}} {{ai_endpoint}} waiting",
            ),
        ),
        "none",
        12,
    ),
    Panel("Money, once usage is counted", "row"),
    Panel(
        "USD per hour",
        "timeseries",
        (
            (
                f"3600 * sum by (call_site, model) (rate(resilient_ai_cost_total{{{_BOTH}}}{_RATE}))",
                "{{call_site}} {{model}}",
            ),
        ),
        "currencyUSD",
        8,
        "Of answers that have a price: registry.price says which have one. What has none is not in it.",
    ),
    Panel(
        "USD in the time shown",
        "stat",
        ((f"sum(increase(resilient_ai_cost_total{{{_BOTH}}}[$__range]))", ""),),
        "currencyUSD",
        4,
        "The same, added up.",
    ),
    Panel(
        "Tokens a second by type",
        "timeseries",
        ((_rate("tokens", _BOTH, "model, token_type"), "{{model}} {{token_type}}"),),
        "none",
        12,
    ),
)


@dataclass(frozen=True, slots=True)
class Alert:
    """
    One alerting rule.

    Attributes:
        name: Its name in Prometheus.
        query: The query, with a series for each problem.
        lasting: How long a problem must last before it fires.
        severity: "page" if a person has to act now, "warning" if it can wait until the morning.
        summary: One line, with Prometheus' placeholders for labels.
        action: What to do.
    """

    name: str
    query: str
    lasting: str
    severity: str
    summary: str
    action: str


ALERTS = (
    Alert(
        "ResilientAICallsFail",
        'sum by (call_site) (rate(resilient_ai_calls_total{outcome="failed"}[5m]))'
        " / sum by (call_site) (rate(resilient_ai_calls_total[5m])) > 0.05",
        "5m",
        "page",
        "{{ $labels.call_site }}: {{ $value | humanizePercentage }} of calls raise an error",
        "Look at the panel of failed attempts by type of error. A @degrade_to outermost would answer in the meantime.",
    ),
    Alert(
        "ResilientAIAnsweringFromFallbacks",
        'sum by (call_site) (rate(resilient_ai_calls_total{outcome="degraded"}[5m]))'
        " / sum by (call_site) (rate(resilient_ai_calls_total[5m])) > 0.1",
        "5m",
        "warning",
        "{{ $labels.call_site }}: fallbacks give {{ $value | humanizePercentage }} of answers",
        "See which endpoints are out and why; callers are served meanwhile, with less than they asked for.",
    ),
    Alert(
        "ResilientAICircuitOpen",
        'sum by (call_site, ai_endpoint) (resilient_ai_circuits{state=~"open|forced_open"}) > 0',
        "5m",
        "warning",
        "{{ $labels.call_site }} {{ $labels.ai_endpoint }}: {{ $value }} circuits open",
        "It probes by itself. One that an operator forced open stays so until .reset().",
    ),
    Alert(
        "ResilientAIEndpointOut",
        'max by (ai_endpoint) (resilient_ai_endpoint_state{state="up"}) == 0',
        "10m",
        "warning",
        "endpoint {{ $labels.ai_endpoint }} is not up",
        "Its failures by type say why: authentication, permission and quota need a person.",
    ),
    Alert(
        "ResilientAIQuotaExceeded",
        'sum by (call_site) (increase(resilient_ai_attempts_failed_total{error_type="quota_exceeded"}[5m])) > 0',
        "0m",
        "page",
        "{{ $labels.call_site }}: the provider says that a quota is used up",
        "Somebody has to pay or to raise a limit; no retry helps.",
    ),
    Alert(
        "ResilientAIRetryBudgetEmpty",
        "min by (call_site) (resilient_ai_retry_budget) < 3",
        "2m",
        "warning",
        "{{ $labels.call_site }}: nothing is retried any more",
        "The budget fills again with good answers. Until then the first error is what callers see.",
    ),
)
