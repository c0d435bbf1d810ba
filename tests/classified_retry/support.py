"""What several files of this folder need."""

from __future__ import annotations

from resilient_ai import ErrorType, RetryRule, classified_retry

PLAIN = {kind: RetryRule(9, 1.0, 60.0, jitter="none") for kind in ErrorType}


def retrying(registry, fn, **settings):
    return classified_retry("ask", registry=registry, **settings)(fn)


def stats(registry):
    return registry.retries["ask"].stats()
