"""
How the functions of a registry run: as ever, switched off, in a test, or in another registry.

Nothing of this is on the path of a call: a wrapper holds what a call runs, and something else is put in its place when
a mode changes. Calls under way end as they began.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class HasMode(Protocol):
    """A registry, which this file must not know: it knows this file."""

    mode: Mode
    clock: Any


class HasRegistry(Protocol):
    """A policy, likewise."""

    registry: Any

    def remade(self, registry: Any) -> Self: ...
    def in_test(self, attempts: int) -> Self | None: ...


P = TypeVar("P", bound=HasRegistry)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mode:
    """
    How the functions of one registry run.

    Attributes:
        off: Calls go straight through.
        attempts: In a test of a program: at most so many, and no waiting; None: as ever.
        stand_in: The registry that they use in place of their own.
        metered: Somebody counts what each run gives.
    """

    off: bool = False
    attempts: int | None = None
    stand_in: HasMode | None = None
    metered: bool = False


AS_EVER = Mode()

_settle_all: Callable[[], None] = lambda: None  # noqa: E731 - set by the wrappers, which know every function


def when_a_mode_changes(settle_all: Callable[[], None]) -> None:
    """Call `settle_all` after every change."""
    global _settle_all
    _settle_all = settle_all


def set_mode(registry: HasMode, **changes: Any) -> None:
    """Run the functions of a registry in another mode, those that are decorated later included."""
    registry.mode = replace(registry.mode, **changes)
    _settle_all()


@contextmanager
def mode(registry: HasMode, **changes: Any) -> Iterator[None]:
    """`set_mode` for the length of a block."""
    before = {name: getattr(registry.mode, name) for name in changes}
    set_mode(registry, **changes)
    try:
        yield
    finally:
        set_mode(registry, **before)


def as_ever(policies: tuple[HasRegistry, ...]) -> bool:
    return all(policy.registry.mode == AS_EVER for policy in policies)


def is_off(policies: tuple[HasRegistry, ...]) -> bool:
    """Whether calls go straight through, which the outermost policy's registry decides."""
    return _registry_of(policies[0]).mode.off


def policies_now(policies: tuple[P, ...]) -> tuple[P, ...]:
    """The policies of a function as the modes of their registries ask."""
    moved = [policy if (now := _registry_of(policy)) is policy.registry else policy.remade(now) for policy in policies]
    return tuple(policy for policy in map(_in_test, moved) if policy is not None)


def _registry_of(policy: HasRegistry) -> HasMode:
    registry: HasMode = policy.registry
    while registry.mode.stand_in is not None:
        registry = registry.mode.stand_in
    return registry


def _in_test(policy: P) -> P | None:
    attempts = policy.registry.mode.attempts
    if attempts is None:
        return policy
    quick = copy.copy(policy)
    quick.registry = _Quick(policy.registry)
    return quick.in_test(attempts)


class _Quick:
    """A registry whose clock does not wait."""

    def __init__(self, registry: HasMode) -> None:
        self._registry = registry
        self.clock = _Hurried(registry.clock)

    def claim(self, _kind: str, _name: str, _config: object, make: Callable[[], T], **_more: Any) -> T:
        """A state of the test's own, for a policy that has no use for the one that it has."""
        return make()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)


class _Hurried:
    """A clock on which a sleep is over at once. Its time, and what bounds a call, are those of another."""

    blocks = False

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.now = clock.now

    async def sleep(self, _seconds: float) -> None:
        await self._clock.sleep(0)

    def block(self, _seconds: float) -> None:
        """Nothing to wait for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)
