"""Which orders of a stack undo a guarantee of one of its policies, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .policy import Policy, Site

_ORDER = {
    ("circuit_breaker", "classified_retry"): (
        "circuit_breaker outside classified_retry counts a whole retry loop as one failure;"
        " put @circuit_breaker nearer to the function"
    ),
    ("circuit_breaker", "batched"): (
        "circuit_breaker outside batched counts one failed call once per waiter;"
        " put @circuit_breaker nearer to the function"
    ),
    ("classified_retry", "classified_retry"): "two classified_retry multiply their attempts; keep one",
    ("circuit_breaker", "failover"): (
        "circuit_breaker outside failover is one circuit for all endpoints, which refuses the good ones with the bad;"
        " put @circuit_breaker nearer to the function"
    ),
    ("failover", "failover"): (
        "two failover multiply the endpoints asked, and what fails below one endpoint of the outer rests below all;"
        " list every endpoint in one"
    ),
    ("batched", "batched"): "two batched would batch batches; keep one",
    ("adaptive_limit", "classified_retry"): (
        "adaptive_limit outside classified_retry holds its place while a retry sleeps;"
        " put @adaptive_limit nearest to the function"
    ),
    ("adaptive_limit", "batched"): (
        "adaptive_limit outside batched counts waiting for a batch as the provider's latency;"
        " put @adaptive_limit nearest to the function"
    ),
    ("adaptive_limit", "failover"): (
        "adaptive_limit outside failover learns one limit for all endpoints;"
        " put @adaptive_limit nearest to the function"
    ),
}


def wrong_order(policy: Policy[Any], above: tuple[Policy[Any], ...], site: Site) -> str | None:
    """
    Why a policy should not be put on top of others.

    Args:
        policy: The new outermost one.
        above: Those that the function has, outermost first.
        site: The function.

    Returns:
        The guarantee that is undone, and what to do; None when all is well.
    """
    reasons = (_out_of_order(policy.kind, lower.kind) for lower in above)
    return next((reason for reason in reasons if reason), None) or _one_state_twice(policy, above, site)


def _out_of_order(outer: str, inner: str) -> str | None:
    if inner == "degrade_to" and outer != "degrade_to":
        return f"{outer} outside degrade_to never sees a failure, because degrade_to answers it; put @degrade_to on top"
    return _ORDER.get((outer, inner))


_TWICE = {
    "circuit_breaker": "count each failure twice in it",
    "adaptive_limit": "take two places in it for each call",
}


def _one_state_twice(policy: Policy[Any], above: tuple[Policy[Any], ...], site: Site) -> str | None:
    """Why two layers of one name are wrong; a failover between them gives the lower ones names of their own."""
    if policy.kind not in _TWICE:
        return None
    for lower in above:
        if lower.injected:
            break
        if lower.kind == policy.kind and lower.registry is policy.registry and policy.shares_state(lower, site):
            name = policy.state_name(site)
            return f"two {policy.kind} named {name!r} {_TWICE[policy.kind]}; keep one, or name both"
    return None
