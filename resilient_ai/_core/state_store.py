"""The registry: clock, random numbers, listeners and the state of every policy, keyed by (kind, name)."""

from __future__ import annotations

import fnmatch
import math
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, get_args

from .checks import check_listener, check_number
from .claim import Claim, Handle, KeyClaim, KeyedHandle
from .clock import SystemClock
from .counts import GoneCounts, Report
from .events import Event, Level, severity
from .exporting import Exporting
from .forks import start_over_after_fork
from .log import EventLog, enabled, log, log_event
from .modes import mode, set_mode
from .plain_settings import agreed, difference
from .public import public
from .report import Row, plain_stats
from .run_time_settings import RunTimeSettings
from .table import as_shown, folded, html_table, text_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .callables import Place
    from .clock import Clock
    from .sharing import Sharing


C = TypeVar("C", bound=KeyClaim)
H = TypeVar("H", bound=Handle)
K = TypeVar("K", bound=KeyedHandle)


_KEY_IDLE_SECONDS = 900.0
_MOST_KEYS = 10_000


@public("types")
class View(Mapping[str, H], Generic[H]):
    """A live, read-only mapping of the states of one kind, by name in full or as shown in tables."""

    def __init__(self, states: dict[tuple[str, str], KeyClaim], kind: str) -> None:
        self._states = states
        self._kind = kind

    def __getitem__(self, name: str) -> H:
        try:
            return cast("H", self._states[self._kind, self._full_name(name)].handle)
        except KeyError:
            names = list(self)
            more = f" and {len(names) - 20} more" if len(names) > 20 else ""
            known = ", ".join(map(repr, names[:20])) + more or "none yet"
            raise KeyError(f"no {self._kind} named {name!r}; there are: {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter([name for kind, name in list(self._states) if kind == self._kind])

    def __len__(self) -> int:
        return sum(kind == self._kind for kind, _ in list(self._states))

    def __contains__(self, name: object) -> bool:
        return (self._kind, self._full_name(name)) in self._states

    def _full_name(self, name: Any) -> Any:
        if (self._kind, name) in self._states:
            return name
        return next((each for each in self if as_shown(each) == name), name)

    def __repr__(self) -> str:
        return text_table(self._rows()) if self else f"no {self._kind} yet"

    def _repr_html_(self) -> str:
        return html_table(self._rows()) if self else f"<p>no {self._kind} yet</p>"

    def _rows(self) -> list[Row]:
        sites: dict[str, list[Row]] = {}
        for name, handle in self.items():
            sites.setdefault(name.partition("[")[0], []).append(handle.row())
        return folded(sites.values())


class StateStore(Exporting, RunTimeSettings):
    """
    What the policies need of a registry: its clock, its listeners and their states, with the arguments of `Registry`.

    Raises:
        ValueError: `max_server_wait` is negative or not a finite number, or a listener is no plain function.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        listeners: Iterable[Callable[[Event], object]] = (log_event,),
        max_server_wait: float = 3600.0,
    ) -> None:
        check_number("max_server_wait", max_server_wait, least=0)
        super().__init__()
        self.max_server_wait = max_server_wait
        self.meters: Any = None  # counts the runs of each function, from the first use on
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.rng = rng if rng is not None else random.Random()  # noqa: S311 - jitter, not secrets
        self._set_listeners({object(): (each, 0) for each in listeners})
        self._broken: set[int] = set()
        self._states: dict[tuple[str, str], KeyClaim] = {}
        self._ranks: dict[str, float] = {}  # by kind
        self._gone = GoneCounts()
        self._lock = threading.RLock()
        self._swept = self.clock.now()
        self._room = _MOST_KEYS  # number of states at which the next new key sweeps idle ones out
        self._full = _MOST_KEYS  # the same for states without a key
        self._own_chance = rng is None
        self.sharing: Sharing | None = None  # to which policies report facts for other processes
        self.workers = 1  # number of registries that have joined each other, including this one
        start_over_after_fork(self)

    def _after_fork(self) -> None:
        """In a forked child: its own random numbers, free locks, and no calls in flight."""
        self._lock = threading.RLock()
        self.sharing, self.workers = None, 1  # the parent may have joined others, the child has not
        if self._own_chance:
            self.rng.seed()  # otherwise every worker would draw the same jitter
        for claim in self._states.values():
            claim.handle._after_fork()

    def bounded_wait(self, stated: float | None) -> float | None:
        """A wait asked for by a server, bounded for circuits, endpoints and limits; the verdict has the original."""
        return None if stated is None else min(stated, self.max_server_wait)

    # -- states

    def claim(
        self,
        kind: str,
        name: str,
        config: object,
        make: Callable[[], H],
        *,
        replace: bool = False,
        rank: float = math.inf,
        place: Place | None = None,
    ) -> H:
        """
        The state of that kind and name, made on first use.

        Args:
            kind: The decorator's name.
            name: The state's name; call sites that share it share the state.
            config: The settings; compared by equality.
            make: Makes the state.
            replace: Whether to make a new state instead of raising if the settings differ: a function without an
                explicit name was defined again, for example in a REPL.
            rank: Place of the kind among the rows of one call site, the outermost lowest; default the last.
            place: Where the function was defined. If the settings differ, a new state is made if every function that
                claimed the old one was defined by an earlier run of this place: a cell or a module was run again.

        Raises:
            ValueError: The name is taken with other settings by another place; the message shows both.
        """
        with self._lock:
            known = self._states.get((kind, name))
            both = agreed(known.config, config) if known is not None else None
            if known is None or (both is None and (replace or known.is_of_an_earlier_run(place))):
                if known is not None:
                    self._gone.keep(kind, known.handle)
                elif len(self._states) >= self._full:
                    self._drop_unheld()
                known = self._states[kind, name] = self._new_claim(Claim, kind, config, make, rank)
            elif both is not None:
                known.config = both[0]
            else:
                raise ValueError(
                    f"{kind} {name!r} already exists with other settings: {difference(known.config, config)};"
                    " use the same settings or another name"
                )
            if not isinstance(known, Claim):  # the state of a key that has the same name as a call site
                known = self._states[kind, name] = Claim(known.handle, known.config)
            known.users += 1
            if place is not None:
                known.used_at(place)
            return cast("H", known.handle)

    def _handle(self, kind: str, name: str) -> Handle | None:
        return None if (known := self._states.get((kind, name))) is None else known.handle

    def _drop_unheld(self) -> None:
        """Drop states that nothing refers to, oldest first: functions made for one request leave states behind."""
        unheld = [key for key, claim in self._states.items() if isinstance(claim, Claim) and claim.is_unheld()]
        for key in unheld[: len(self._states) - _MOST_KEYS + _MOST_KEYS // 10]:
            self._gone.keep(key[0], self._states.pop(key).handle)
        self._full = max(_MOST_KEYS, len(self._states) + _MOST_KEYS // 10)

    def _new_claim(
        self, kind_of_claim: type[C], kind: str, config: object, make: Callable[[], Handle], rank: float
    ) -> C:
        claim = kind_of_claim(make(), config)
        self._ranks[kind] = rank
        if self.book and (now := self.book.config(kind, claim.site, config)) is not config:
            claim.handle._reconfigure(now)
        return claim

    def claim_key(self, kind: str, name: str, config: object, make: Callable[[], K], *, rank: float = math.inf) -> K:
        """The state of one key of a keyed policy; idle ones are dropped, so that keys cannot fill the memory."""
        known = self._states.get((kind, name))
        if known is None:
            self._sweep(kind)
            with self._lock:
                claim = self._new_claim(KeyClaim, kind, config, make, rank)
                known = self._states.setdefault((kind, claim.handle.name), claim)  # reuse the string of the handle
        return cast("K", known.handle)

    def _sweep(self, kind: str) -> None:
        now = self.clock.now()
        with self._lock:
            if len(self._states) < self._room and now - self._swept < _KEY_IDLE_SECONDS / 10:
                return
            self._swept = now
            keyed: dict[tuple[str, str], KeyedHandle] = {
                key: claim.handle
                for key, claim in self._states.items()
                if key[0] == kind and not isinstance(claim, Claim)
            }
            gone = [key for key, handle in keyed.items() if handle._idle(now) >= _KEY_IDLE_SECONDS]
            many = _MOST_KEYS // 10
            if len(self._states) >= _MOST_KEYS and len(gone) < many:
                # First states that have waited that long for a probe, then the least recently used.
                gone += [key for key, handle in keyed.items() if handle._overdue(now) >= _KEY_IDLE_SECONDS]
                rest = [key for key, handle in keyed.items() if 0 <= handle._idle(now) < _KEY_IDLE_SECONDS]
                gone += sorted(rest, key=lambda key: -keyed[key]._idle(now))[: max(0, many - len(gone))]
                # In an outage of all keys every state is open: drop those without a call for the longest time.
                left = {key: unused for key in keyed.keys() - gone if (unused := keyed[key]._unused(now)) >= 0}
                gone += sorted(left, key=lambda key: -left[key])[: max(0, many - len(gone))]
            self._gone.keep(kind, *(self._states.pop(key).handle for key in gone))
            # If all must be kept, because an operator has set them, the next sweep waits until there are many more.
            self._room = _MOST_KEYS if len(self._states) < _MOST_KEYS else len(self._states) + many

    def release(self, kind: str, name: str) -> None:
        """Give back one claim; the state is dropped with the last."""
        with self._lock:
            known = self._states.get((kind, name))
            if isinstance(known, Claim):
                known.users -= 1
                if known.users <= 0:
                    del self._states[kind, name]
                    self._gone.keep(kind, known.handle)

    def _handles(self) -> list[Any]:
        with self._lock:
            return [claim.handle for claim in self._states.values()]

    def ranked_handles(self) -> list[tuple[float, Any]]:
        """All states, each with its rank among those of its call site, the outermost lowest."""
        with self._lock:
            return [(self._ranks[kind], claim.handle) for (kind, _), claim in self._states.items()]

    def count_outermost(self, kind: str, call_site: str, functions: int) -> None:
        """Add to the number of functions whose outermost policy has this kind and name."""
        with self._lock:
            if isinstance(known := self._states.get((kind, call_site)), Claim):
                known.outermost += functions
            else:
                self._count_without_state((kind, call_site), functions)

    def is_outermost(self, kind: str, call_site: str) -> bool:
        """Whether its policy is the outermost of a function, so that it counts the calls of callers."""
        known = self._states.get((kind, call_site))
        return self._outermost[kind, call_site] > 0 or (isinstance(known, Claim) and known.outermost > 0)

    def find(self, pattern: str) -> list[Any]:
        """Handles of all kinds whose name matches a shell pattern such as `"summar*"`."""
        return [
            claim.handle
            for (_, name), claim in list(self._states.items())
            if any(fnmatch.fnmatchcase(each, pattern) for each in (name, as_shown(name), name.rpartition(".")[2]))
        ]

    def stats(self) -> dict[str, dict[str, Any]]:
        """Frozen statistics of everything: kind → name → dataclass."""
        report: dict[str, dict[str, Any]] = {}
        for (kind, name), claim in list(self._states.items()):
            report.setdefault(kind, {})[name] = claim.handle.stats()
        return report

    def counts(self) -> Report:
        """
        The counts since the process began: kind → (call site, endpoint) → named tuple of numbers.

        No number ever falls, neither by `reset()` nor when states of idle keys are dropped. The states of all keys of a
        call site are added up. Cheap enough for ten thousand states, unlike `stats()`.
        """
        with self._lock:
            names, claims, gone = list(self._states), list(self._states.values()), self._gone.copy()
        return gone.report((name[0], claim.handle) for name, claim in zip(names, claims, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """`stats()` as plain JSON values; `calls`, `ok`, `failed` and `neutral` mean the same for every kind."""
        return {
            kind: {name: plain_stats(stats) for name, stats in states.items()} for kind, states in self.stats().items()
        }

    def reset(self) -> None:
        """Reset every state. Decorated functions keep working."""
        for claim in list(self._states.values()):
            claim.handle.reset()

    # -- on and off

    def disable(self) -> None:
        """
        Let calls go straight through from now on: uncounted, without timeout, circuit, retry or fallback.

        Of several endpoints the first one is used, a batch is a list of one item, and a stream is not guarded.
        `RESILIENT_AI_DISABLED=1` in the environment does this to the default registry.
        """
        set_mode(self, off=True)

    def enable(self) -> None:
        """Undo `disable`; the states are unchanged."""
        set_mode(self, off=False)

    def disabled(self) -> AbstractContextManager[None]:
        """`disable` for the duration of a `with` block, in all tasks and threads."""
        return mode(self, off=True)

    def testing(self, *, attempts: int = 1) -> AbstractContextManager[None]:
        """
        A block for tests of a program, in which no policy waits.

        Retries make at most `attempts` attempts, without delays; circuits and limits let every call through; batches
        are sent at once. Choices among endpoints, and answers in their place, work normally.

        Args:
            attempts: Most attempts, including the first; at least 1. Default 1.

        Raises:
            ValueError: Fewer than 1 attempt.
        """
        if attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {attempts!r}")
        return mode(self, attempts=attempts)

    # -- events

    @property
    def listeners(self) -> tuple[Callable[[Event], object], ...]:
        """The listeners, which are called with every event. Can be assigned; `()` for none."""
        return tuple(listener for listener, _ in self._listeners.values())

    @listeners.setter
    def listeners(self, listeners: Iterable[Callable[[Event], object]]) -> None:
        with self._lock:
            self._set_listeners({object(): (each, 0) for each in listeners})

    def subscribe(self, listener: Callable[[Event], object], level: Level = "debug") -> Callable[[], None]:
        """
        Call `listener` with every event from now on.

        Args:
            listener: Called outside locks; its error is logged once and does not break a call.
            level: Least severity of the events; others are not even made for it. Default "debug": all events.

        Returns:
            A function that ends this subscription.

        Raises:
            ValueError: No such level, or the listener is no function, or an async one.
        """
        if level not in get_args(Level):
            raise ValueError(f"level must be one of {', '.join(get_args(Level))}, got {level!r}")
        key = object()  # a listener may be subscribed twice
        with self._lock:
            self._set_listeners({**self._listeners, key: (listener, severity(level))})

        def unsubscribe() -> None:
            with self._lock:
                self._set_listeners({each: heard for each, heard in self._listeners.items() if each is not key})
                self._broken.discard(id(listener))  # a later listener may get the same id

        return unsubscribe

    def _set_listeners(self, listeners: Mapping[object, tuple[Callable[[Event], object], int]]) -> None:
        for listener, _ in listeners.values():
            check_listener(listener)
        # A new mapping each time: another thread may be iterating over the old one.
        self._listeners = {
            key: (EventLog(self.clock.now) if listener is log_event else listener, least)
            for key, (listener, least) in listeners.items()
        }
        logs = [isinstance(listener, EventLog) for listener, _ in self._listeners.values()]
        self._logs = any(logs)
        # The least severity that any listener other than the log wants.
        levels = (least for (_, least), is_log in zip(self._listeners.values(), logs, strict=True) if not is_log)
        self._least: float = min(levels, default=math.inf)

    def hears(self, kind: type[Event]) -> bool:
        """Whether there is a listener for events of this kind; otherwise none is made."""
        if self._least == math.inf and not self._logs:
            return False
        number = severity(kind.level)
        return number >= self._least or (self._logs and enabled(number))

    def emit(self, event: Event) -> None:
        """Send an event to every listener. An error of a listener is logged once and never breaks a call."""
        number = severity(event.level)
        for listener, least in self._listeners.values():
            if number >= least:
                self.notify(listener, event)

    def notify(self, listener: Callable[[Event], object], event: Event) -> None:
        """Send an event to one listener."""
        try:
            listener(event)
        except Exception as error:  # noqa: BLE001 - telemetry must not break a call
            if id(listener) not in self._broken:
                self._broken.add(id(listener))
                _report_broken(listener, error)


def _report_broken(listener: object, error: Exception) -> None:
    name = getattr(listener, "__qualname__", type(listener).__qualname__)
    log("error", "resilient_ai.listener_failed", listener=name, error=type(error).__name__)


_default = cast("StateStore", None)  # set by the rim


def default_registry() -> StateStore:
    """The registry of decorators without `registry=`."""
    return _default


def set_default_registry(new: StateStore) -> StateStore:
    """Replace the default registry, for tests; returns the previous one."""
    global _default
    before, _default = _default, new
    return before
