"""The metrics, for both exporters. OpenTelemetry's names have dots, Prometheus' have underscores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resilient_ai._core.measurements import ATTEMPT, BATCH_SIZE, BATCH_WAIT, BOUNDS, CALL, RETRY_DELAY

Kind = Literal["counter", "gauge", "histogram"]
PREFIX = "resilient_ai."


@dataclass(frozen=True, slots=True)
class Family:
    """
    One metric.

    Attributes:
        name: Its name, without the prefix.
        kind: "counter", "gauge" or "histogram".
        text: Its description, in a sentence.
        labels: Names of its labels, with dots.
        unit: "s" for seconds; empty for numbers.
    """

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...]
    unit: str = ""

    @property
    def otel_name(self) -> str:
        return PREFIX + self.name

    @property
    def prometheus_name(self) -> str:
        """The name for Prometheus, without `_total`, which its client adds to counters."""
        return (self.otel_name + ("_seconds" if self.unit == "s" else "")).replace(".", "_")

    @property
    def prometheus_labels(self) -> tuple[str, ...]:
        return tuple(label.replace(".", "_") for label in self.labels)

    @property
    def bounds(self) -> tuple[float, ...]:
        """The bucket bounds of a histogram."""
        return BOUNDS[self.name]


_SITE, _ENDPOINT, _BOTH = ("call_site",), ("ai_endpoint",), ("call_site", "ai_endpoint")
_USAGE = (*_BOTH, "model")

FAMILIES = (
    Family("calls", "counter", "Calls that callers made, by how they ended.", (*_SITE, "outcome")),
    Family(
        CALL, "histogram", "Seconds of callers' calls; of streams, until the first content.", (*_SITE, "outcome"), "s"
    ),
    Family(
        ATTEMPT, "histogram", "Seconds of single calls of the function below all policies.", (*_BOTH, "outcome"), "s"
    ),
    Family("attempts", "counter", "Attempts of retries, the first included.", _SITE),
    Family("attempts.failed", "counter", "Failed attempts of retries.", (*_SITE, "error.type")),
    Family("retries", "counter", "Attempts after the first.", _SITE),
    Family("retries.recovered", "counter", "Calls that a retry saved.", _SITE),
    Family("retries.exhausted", "counter", "Calls that failed in spite of a retry policy.", _SITE),
    Family(RETRY_DELAY, "histogram", "Seconds between an attempt and the next.", _SITE, "s"),
    Family("retry.budget", "gauge", "Tokens that are left to retry with.", _SITE),
    Family("circuit.calls", "counter", "Calls that met a circuit.", (*_BOTH, "outcome")),
    Family("circuit.opened", "counter", "Times that a circuit opened.", _BOTH),
    Family("circuits", "gauge", "Circuits in a state: 0 or 1; of a breaker with keys, how many.", (*_BOTH, "state")),
    Family("failovers", "counter", "Times that a call went on to another endpoint.", _SITE),
    Family("failover.attempts", "counter", "Times that a failover sent an endpoint a call.", _SITE),
    Family("hedges", "counter", "Second endpoints asked because the first was slow.", (*_SITE, "won")),
    Family("endpoint.calls", "counter", "Calls that an endpoint was sent.", (*_ENDPOINT, "outcome")),
    Family("endpoint.failures", "counter", "Failures of an endpoint.", (*_ENDPOINT, "error.type")),
    Family("endpoint.state", "gauge", "1 for the state that an endpoint is in.", (*_ENDPOINT, "state")),
    Family("endpoint.in_flight", "gauge", "Calls under way.", _ENDPOINT),
    Family("endpoint.resting", "gauge", "Seconds until an endpoint may be tried again.", _ENDPOINT, "s"),
    Family("limit.size", "gauge", "Calls that may be under way at a time.", _BOTH),
    Family("limit.in_flight", "gauge", "Calls that are under way.", _BOTH),
    Family("limit.waiting", "gauge", "Callers in the queue.", _BOTH),
    Family("limit.rate", "gauge", "Calls a second that are sent; absent while nothing paces them.", _BOTH),
    Family("limit.refused", "counter", "Callers that were turned away.", _BOTH),
    Family("rate_limit.refused", "counter", "Callers that a known quota had no room for in time.", _BOTH),
    Family("spend_limit.refused", "counter", "Callers that came when all was spent.", _BOTH),
    Family("batches", "counter", "Batches sent.", _SITE),
    Family("batch.items", "counter", "Items in them.", _SITE),
    Family("batch.rejected", "counter", "Callers that a full queue turned away.", _SITE),
    Family("batch.queue", "gauge", "Items that wait to be sent.", _SITE),
    Family(BATCH_SIZE, "histogram", "Items of a batch.", _SITE),
    Family(BATCH_WAIT, "histogram", "Seconds from a batch's first item to its leaving.", _SITE, "s"),
    Family("degraded", "counter", "Answers that a fallback gave.", (*_SITE, "rung")),
    Family("degrade.misses", "counter", "Calls that no rung of a fallback could answer.", _SITE),
    Family("tokens", "counter", "Tokens of answers, once usage is counted.", (*_USAGE, "token.type")),
    Family("cost", "counter", "USD of answers that have a price, once usage is counted.", _USAGE),
    Family("events", "counter", "What a log would warn of.", (*_BOTH, "event", "error.type")),
    Family("series.dropped", "gauge", "Series that were too many to show.", ()),
)
