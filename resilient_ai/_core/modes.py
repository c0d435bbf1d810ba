"""
The mode in which the functions of a registry run: normal, switched off, in a test, in another registry, or with other
settings.

Modes cost a call nothing: a wrapper holds the function that a call runs, and a change of mode replaces it. Calls in
flight end as they began.
"""

from __future__ import annotations

import copy
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, TypeVar

from .forks import in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from .observers import Observer
    from .settings import Book


class HasMode(Protocol):
    """A registry; a protocol, because the registry imports this file."""

    mode: Mode
    mode_changes: tuple[ModeChange, ...]
    book: Book
    clock: Any


class HasRegistry(Protocol):
    """A policy; a protocol for the same reason."""

    kind: ClassVar[str]
    name: str | None
    registry: Any

    @property
    def declared(self) -> Any: ...
    def with_config(self, config: Any) -> Self: ...
    def remade(self, registry: Any) -> Self: ...
    def in_test(self, attempts: int) -> Self | None: ...


P = TypeVar("P", bound=HasRegistry)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mode:
    """
    The mode of one registry.

    Attributes:
        off: Whether calls go straight through.
        attempts: Most attempts in a test of a program, without waiting; None: normal.
        stand_in: The registry that is used in place of this one.
        metered: Whether the results of each run are counted.
        observers: The observers of calls.
    """

    off: bool = False
    attempts: int | None = None
    stand_in: HasMode | None = None
    metered: bool = False
    observers: tuple[Observer, ...] = ()


NORMAL = Mode()


class ModeChange(NamedTuple):
    """One field of a registry's mode that is not normal."""

    field: str
    value: Any
    block: object | None  # the block at whose end it ends; None: it stays


# Held while a mode is read and computed again, never while functions are updated. Reentrant: the garbage collector may
# run code that changes a mode meanwhile.
_changing = threading.RLock()


def _free_lock() -> None:
    global _changing
    _changing = threading.RLock()


in_child(_free_lock)


class Functions(Protocol):
    """All decorated functions, which the wrappers know."""

    def settle(self, sites: Collection[tuple[str, str]] | None) -> None: ...
    def policies(self) -> Iterator[tuple[HasRegistry, str]]: ...


class _None:
    """In place of the decorated functions of a program that has not imported a policy yet."""

    def settle(self, sites: Collection[tuple[str, str]] | None) -> None:
        """Do nothing: functions that are decorated later settle themselves."""

    def policies(self) -> Iterator[tuple[HasRegistry, str]]:
        """None yet."""
        return iter(())


_functions: Functions = _None()


def follow_modes(functions: Functions) -> None:
    """Update these functions at every change."""
    global _functions
    _functions = functions


def settle(sites: Collection[tuple[str, str]]) -> None:
    """Let the functions with a policy of these kinds and names use its present settings."""
    _functions.settle(sites)


def policies_of(registry: object) -> Iterator[tuple[HasRegistry, str]]:
    """Every policy, with its name, of the functions of a registry, including those that use it as a stand-in."""
    for policy, function in _functions.policies():
        if policy.registry is registry or _registry_of(policy) is registry:
            yield policy, policy.name or function


def set_mode(registry: HasMode, **changes: Any) -> None:
    """Run the functions of a registry in another mode, including those decorated later."""
    with _changing:
        _put(registry, None, changes)
    _functions.settle(None)


def set_observers(registry: HasMode, change: Callable[[tuple[Observer, ...]], tuple[Observer, ...]]) -> None:
    """Replace the observers of a registry's functions by what `change` returns for the present ones."""
    with _changing:
        _put(registry, None, {"observers": change(registry.mode.observers)})
    _functions.settle(None)


@contextmanager
def mode(registry: HasMode, **changes: Any) -> Iterator[None]:
    """`set_mode` for the duration of a block. Blocks may overlap, in tasks and threads, and end in any order."""
    block = object()
    with _changing:
        _put(registry, block, changes)
    try:
        _functions.settle(None)
        yield
    finally:
        with _changing:
            _make(registry, [each for each in registry.mode_changes if each.block is not block])
        _functions.settle(None)


def _put(registry: HasMode, block: object | None, changes: dict[str, Any]) -> None:
    kept = [each for each in registry.mode_changes if each.block is not block or each.field not in changes]
    _make(registry, [*kept, *(ModeChange(field, value, block) for field, value in changes.items())])


def _make(registry: HasMode, changes: list[ModeChange]) -> None:
    """Compute the mode of a registry; of several changes of one field the latest counts."""
    registry.mode_changes = tuple(changes)
    registry.mode = Mode(**{each.field: each.value for each in changes})


def is_normal(policies: tuple[HasRegistry, ...], function: str) -> bool:
    """Whether policies act normally, observed or not."""
    return all(
        replace(policy.registry.mode, observers=()) == NORMAL and _with_settings(policy, function) is policy
        for policy in policies
    )


def observers_of(policies: tuple[HasRegistry, ...]) -> tuple[Observer, ...]:
    """The observers of a function with these policies, which the outermost policy's registry decides."""
    return _registry_of(policies[0]).mode.observers


def is_off(policies: tuple[HasRegistry, ...]) -> bool:
    """Whether calls go straight through, which the outermost policy's registry decides."""
    return _registry_of(policies[0]).mode.off


def policies_now(policies: tuple[P, ...], function: str) -> tuple[P, ...]:
    """The policies of a function, according to the modes and the settings of their registries."""
    moved = [policy if (now := _registry_of(policy)) is policy.registry else policy.remade(now) for policy in policies]
    tuned = [_with_settings(policy, function) for policy in moved]
    return tuple(policy for policy in map(_in_test, tuned) if policy is not None)


def _with_settings(policy: P, function: str) -> P:
    """The policy with its present settings; the same object if only its decorator's settings apply."""
    book: Book = policy.registry.book
    if not book:
        return policy
    config = book.config(policy.kind, policy.name or function, policy.declared)
    return policy if config == policy.declared else policy.with_config(config)


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
        """A state of the test's own, for a policy that needs a fresh one."""
        return make()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)


class _Hurried:
    """A clock whose sleeps end at once. Its time, and its bounds for calls, are those of another clock."""

    blocks = False

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.now = clock.now

    async def sleep(self, _seconds: float) -> None:
        await self._clock.sleep(0)

    def block(self, _seconds: float, _until: object = None) -> None:
        """Do not wait."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)
