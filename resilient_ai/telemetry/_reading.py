"""All present numbers of a registry, by metric and labels."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from resilient_ai._circuit_breaker.handle import CircuitBreaker
from resilient_ai._circuit_breaker.tickets import CircuitState
from resilient_ai._core.counts import OTHERS
from resilient_ai._core.errors import ErrorType
from resilient_ai._core.forks import start_over_after_fork
from resilient_ai._core.measurements import MOST_OF_ALL, MOST_OF_ENDPOINTS
from resilient_ai._core.state_name import place_of
from resilient_ai._failover.endpoint_state import EndpointState

from ._families import FAMILIES
from ._folding import Folding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_ai._core.measurements import Histogram
    from resilient_ai._registry import Registry
    from resilient_ai._usage.book import UsageBook
    from resilient_ai.events import Event

MOST_SERIES = 2_000  # most series of one metric
_ERRORS = dict.fromkeys(ErrorType, 0)

Labels = tuple[str, ...]
Numbers = dict[str, dict[Labels, float]]


class Reading:
    """
    Reads a registry for one exporter, and counts its events.

    Args:
        registry: The registry, which measures durations until `close`.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._events: Counter[Labels] = Counter()
        self._folding = Folding()
        self._after_fork()
        start_over_after_fork(self)
        self._off = registry.measure(), registry.subscribe(self._heard, level="warning")

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler may cause an event

    def close(self) -> None:
        """Stop measuring and counting."""
        for off in self._off:
            off()

    def _heard(self, event: Event) -> None:
        kind = getattr(event, "error_type", "")
        site, at, name = event.call_site or "", event.endpoint or "", event.log_name.rpartition(".")[2]
        with self._lock:
            if at and len(self._events) >= MOST_OF_ENDPOINTS and (site, at, name, kind) not in self._events:
                at = OTHERS
            if len(self._events) >= MOST_OF_ALL and (site, at, name, kind) not in self._events:
                site, at = OTHERS, at and OTHERS
            self._events[site, at, name, kind] += 1

    def numbers(self) -> Numbers:
        """
        Counters and gauges, at most 2,000 series of each metric; the number of dropped ones is a metric too.

        Endpoints above about 1,500 series of a metric are added up under `(others)`.
        """
        found: Numbers = defaultdict(dict)
        with self._lock:
            found["events"] = dict(self._events)
        for kind, places in self._registry.counts().items():
            for (call_site, endpoint), counts in places.items():
                site, at = call_site or "", endpoint or ""
                _COUNTERS.get(kind, _nothing)(found, site, at, counts)
                if call_site is not None and endpoint is None and self._registry.is_outermost(kind, call_site):
                    _count_calls(found, site, counts)
        if self._registry.meters is not None:  # reading `usage` would start the counting
            _count_usage(found, self._registry.usage)
        self._gauges(found)
        with self._lock:
            self._folding.fold(found)
        found["series.dropped"][()] = _cut(found)
        return found

    def histograms(self) -> dict[str, dict[Labels, Histogram]]:
        """Histograms of durations, at most 2,000 series of each metric."""
        found: dict[str, dict[Labels, Histogram]] = defaultdict(dict)
        for series, histogram in self._registry.histograms().items():
            if len(found[series.metric]) < MOST_SERIES:
                labels = (getattr(series, name) or "" for name in _HISTOGRAM_LABELS[series.metric])
                found[series.metric][tuple(labels)] = histogram
        return found

    def _gauges(self, found: Numbers) -> None:
        registry = self._registry
        breakers = [each for each in registry._handles() if type(each) is CircuitBreaker]
        circuits = Counter((place_of(each.name), each.state) for each in breakers)
        for place in {place for place, _ in circuits}:
            labels = place[0] or "", place[1] or ""
            for state in CircuitState:
                found["circuits"][(*labels, state.value)] = circuits[place, state]
        for name, retry in registry.retries.items():
            if (budget := retry.stats().budget) is not None:
                found["retry.budget"][(name,)] = budget
        for name, endpoint in registry.endpoints.items():
            stats = endpoint.stats()
            for each in EndpointState:
                found["endpoint.state"][name, each.value] = stats.state is each
            found["endpoint.in_flight"][(name,)] = stats.in_flight
            found["endpoint.resting"][(name,)] = stats.resting_for
        for limit in registry.limits.values():
            at, learnt = (limit.call_site or "", limit.endpoint or ""), limit.stats()
            found["limit.size"][at] = learnt.limit
            found["limit.in_flight"][at] = learnt.in_flight
            found["limit.waiting"][at] = learnt.waiting
            if learnt.rate is not None:
                found["limit.rate"][at] = learnt.rate
        for name, batches in registry.batches.items():
            found["batch.queue"][(name,)] = batches.stats().queue_size


_HISTOGRAM_LABELS = {each.name: each.labels for each in FAMILIES if each.kind == "histogram"}


def _cut(found: Numbers) -> int:
    dropped = 0
    for metric, series in found.items():
        if len(series) > MOST_SERIES:
            dropped += len(series) - MOST_SERIES
            found[metric] = dict(list(series.items())[:MOST_SERIES])
    return dropped


# -- counters, by kind of policy


def _count_calls(found: Numbers, site: str, counts: Any) -> None:
    """Count calls by outcome, from the outermost policy of their function."""
    degraded = sum(getattr(counts, "by_rung", {}).values())
    failed = sum(getattr(counts, name, 0) for name in ("failed", "misses", "passed", "rejected", "refused"))
    if hasattr(counts, "late"):  # a circuit: calls that tell nothing about the provider were not answered either
        failed += counts.neutral
    for outcome, number in (("ok", counts.ok), ("degraded", degraded), ("failed", failed)):
        found["calls"][site, outcome] = number


def _count_circuits(found: Numbers, site: str, at: str, counts: Any) -> None:
    for outcome in ("ok", "failed", "neutral", "rejected", "late"):
        found["circuit.calls"][site, at, outcome] = getattr(counts, outcome)
    found["circuit.opened"][site, at] = counts.opened


def _count_retries(found: Numbers, site: str, _at: str, counts: Any) -> None:
    found["attempts"][(site,)] = counts.attempts
    # Every type from the beginning: Prometheus sees no increase if a series begins with 1.
    for kind, number in {**_ERRORS, **counts.errors}.items():
        found["attempts.failed"][site, str(kind)] = number
    found["retries"][(site,)] = counts.retries
    found["retries.recovered"][(site,)] = counts.recovered
    found["retries.exhausted"][(site,)] = counts.failed


def _count_failovers(found: Numbers, site: str, _at: str, counts: Any) -> None:
    found["failovers"][(site,)] = counts.moves
    found["failover.attempts"][(site,)] = counts.attempts
    found["hedges"][site, "true"] = counts.hedges_won
    found["hedges"][site, "false"] = counts.hedges - counts.hedges_won


def _count_endpoints(found: Numbers, _site: str, at: str, counts: Any) -> None:
    found["endpoint.calls"][at, "ok"] = counts.ok
    found["endpoint.calls"][at, "failed"] = counts.failed
    for kind, number in {**_ERRORS, **counts.errors}.items():
        found["endpoint.failures"][at, str(kind)] = number


def _count_refused(metric: str) -> Any:
    def count(found: Numbers, site: str, at: str, counts: Any) -> None:
        found[metric][site, at] = counts.refused

    return count


def _count_batches(found: Numbers, site: str, _at: str, counts: Any) -> None:
    found["batches"][(site,)] = counts.batches
    found["batch.items"][(site,)] = counts.items
    found["batch.rejected"][(site,)] = counts.rejected


def _count_answers(found: Numbers, site: str, _at: str, counts: Any) -> None:
    for rung, number in counts.by_rung.items():
        found["degraded"][site, rung] = number
    found["degrade.misses"][(site,)] = counts.misses


def _count_usage(found: Numbers, book: UsageBook) -> None:
    for site in book.ever():
        for row in site:
            at = site.call_site, row.endpoint or "", row.model or "unknown"
            usage = row.usage
            for kind, number in (
                ("input", usage.input_tokens),
                ("output", usage.output_tokens),
                ("cache_read", usage.cache_read_tokens),
                ("cache_write", usage.cache_write_tokens),
                ("reasoning", usage.reasoning_tokens),
            ):
                found["tokens"][(*at, kind)] = number
            if row.cost is not None:
                found["cost"][at] = row.cost


def _nothing(found: Numbers, site: str, at: str, counts: Any) -> None:
    """For a policy whose own counts have no metrics yet."""


_COUNTERS: Mapping[str, Any] = {
    "circuit_breaker": _count_circuits,
    "classified_retry": _count_retries,
    "failover": _count_failovers,
    "endpoint": _count_endpoints,
    "adaptive_limit": _count_refused("limit.refused"),
    "rate_limit": _count_refused("rate_limit.refused"),
    "spend_limit": _count_refused("spend_limit.refused"),
    "batched": _count_batches,
    "degrade_to": _count_answers,
}
