"""Find orders of a stack that break a guarantee of a policy, as the policies themselves declare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .policy import Policy, Site


def wrong_order(policy: Policy[Any], lower_policies: tuple[Policy[Any], ...], site: Site) -> str | None:
    """
    Why a policy should not be put on top of others.

    Args:
        policy: The new outermost policy.
        lower_policies: The policies that the function already has, outermost first.
        site: The call site.

    Returns:
        The guarantee that would be broken, and what to do; None if the order is right.
    """
    reasons = (_out_of_order(policy, lower) for lower in lower_policies)
    return next((reason for reason in reasons if reason), None) or _one_state_twice(policy, lower_policies, site)


def _out_of_order(outer: Policy[Any], inner: Policy[Any]) -> str | None:
    reason = outer.not_outside.get(inner.kind)
    if outer.kind == inner.kind:
        return f"two {outer.kind} {reason}" if reason else None
    if reason:
        return f"{outer.kind} outside {inner.kind} {reason}; put @{outer.kind} nearer to the function"
    below = inner.not_inside
    if not isinstance(below, str | None):
        below = below.get(outer.kind)
    return f"{outer.kind} outside {inner.kind} {below}; put @{inner.kind} on top" if below else None


def _one_state_twice(policy: Policy[Any], lower_policies: tuple[Policy[Any], ...], site: Site) -> str | None:
    """Why two layers of one name are wrong; None if a layer with endpoints gives the lower one other names."""
    if policy.twice is None:
        return None
    for lower in lower_policies:
        if lower.injects_argument:
            break
        if lower.kind == policy.kind and lower.registry is policy.registry and policy.shares_state(lower, site):
            name = policy.state_name(site)
            return f"two {policy.kind} named {name!r} {policy.twice}; keep one, or name both"
    return None
