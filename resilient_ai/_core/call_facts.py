"""`watch()`: collect facts about a call without wrapping its answer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from dataclasses import dataclass, fields
from typing import Any

from .public import public
from .usage import Usage


@public("types")
@dataclass(repr=False)
class Seen:
    """
    Facts about the calls made inside one `watch()`. With several calls, counts add up, and other facts are the latest.

    Attributes:
        endpoint: Name of the endpoint that gave the answer; None without endpoints.
        endpoints_tried: Names of all endpoints asked, in order.
        attempts: Attempts of a retry, including the first; 0 without a retry.
        retries: Attempts after the first.
        degraded: Whether a fallback answered.
        source: The rung that answered; None if the provider did.
        similarity: Cosine similarity of the recalled question, if a similar answer was used; else None.
        age: Seconds since the provider gave a recalled answer; else None.
        error: The error for which a fallback was needed; None if the provider answered.
        usage: Tokens of all answers, including those that were discarded; None if none were reported.
    """

    endpoint: str | None = None
    endpoints_tried: tuple[str, ...] = ()
    attempts: int = 0
    retries: int = 0
    degraded: bool = False
    source: str | None = None
    similarity: float | None = None
    age: float | None = None
    error: BaseException | None = None
    usage: Usage | None = None

    def add(self, other: Seen) -> None:
        """Add the facts that another object collected about a shared call."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if each.name in ("endpoints_tried", "attempts", "retries") or (each.name == "usage" and mine and theirs):
                setattr(self, each.name, mine + theirs)
            elif theirs != each.default:
                setattr(self, each.name, theirs)

    def __repr__(self) -> str:
        """
        The facts that differ from a first good answer; only the type of an error, whose message may hold a prompt.
        """
        shown = [
            f"{each.name}={type(value).__name__ if each.name == 'error' else repr(value)}"
            for each in fields(self)
            if (value := getattr(self, each.name)) != each.default
        ]
        return f"<Seen {' '.join(shown) or 'nothing yet'}>"


_seen: ContextVar[Seen | None] = ContextVar("resilient_ai.seen", default=None)

# Empty until somebody watches in this process: until then the fast paths do not look it up.
ever_watched: list[bool] = []

# For policies: the object that collects the facts of this call, or None. Without a watch() this look-up is the only
# cost.
watching = _seen.get


def no_fallback_answered(seen: Seen, error: BaseException | None) -> None:
    """Record that no fallback answered the latest call, and its error, if it has one."""
    seen.degraded, seen.error = False, error
    seen.source = seen.similarity = seen.age = None


@public()
def watch() -> AbstractContextManager[Seen, None]:
    """
    Collect facts about the decorated calls made inside the block, including those in tasks started there.

    Returns:
        A context manager that gives a `Seen`, which fills as calls end. The inner of two nested blocks gets the facts.
    """
    block = _new(_Watch)
    block._token = None
    return block


def _set_seen(seen: Seen) -> Token[Seen | None]:
    if not ever_watched:
        ever_watched.append(True)
    return _seen.set(seen)


_new = object.__new__  # `_Watch()` and `Seen()` take as long as the rest of a block


class _Watch(AbstractContextManager[Seen, None]):
    # A class, because a `contextlib` generator would take three times as long.

    __slots__ = ("_token",)

    _token: Token[Seen | None] | None

    def __enter__(self) -> Seen:
        if self._token is not None:
            raise RuntimeError("a watch() is for one block; call watch() again")
        seen = _new(Seen)  # its class has all defaults
        self._token = _set_seen(seen)
        return seen

    def __exit__(self, *_error: object) -> None:
        try:  # noqa: SIM105 - suppress() takes as long as all of the rest
            _seen.reset(self._token)  # type: ignore[arg-type]  # the block was entered
        except ValueError:
            pass  # a task of a closed loop, garbage-collected in another context


@dataclass(slots=True)
class DegradedFlag:
    """
    Whether a fallback answered anywhere inside one call; then no memory keeps the answer as a real one.

    Attributes:
        degraded: Whether one did.
        outer: The flag of the surrounding call.
    """

    degraded: bool = False
    outer: DegradedFlag | None = None


degraded_flag: ContextVar[DegradedFlag | None] = ContextVar("resilient_ai.degraded", default=None)
current_flag = degraded_flag.get


class flagged:  # noqa: N801 - used as a `with` statement
    """Set the flag if a fallback answers inside the block; the flag of the surrounding call is then set too."""

    __slots__ = ("_flag", "_token")

    def __init__(self, flag: DegradedFlag) -> None:
        self._flag = flag

    def __enter__(self) -> None:
        self._flag.outer = degraded_flag.get()
        self._token = degraded_flag.set(self._flag)

    def __exit__(self, *_error: object) -> None:
        lower_flag(self._flag, self._token)


def lower_flag(flag: DegradedFlag, token: Token[DegradedFlag | None]) -> None:
    """
    End the block of a flag.

    Args:
        flag: The block's; if it is set, that of the surrounding call is set too.
        token: What setting it has returned.
    """
    try:  # noqa: SIM105 - suppress() would cost every call
        degraded_flag.reset(token)
    except ValueError:
        pass  # the call of a closed loop is collected in another context, which refuses the token
    if flag.degraded and (outer := flag.outer) is not None:
        outer.degraded = True


# What an observer of calls, such as a tracer, keeps about the running call.
following: ContextVar[Any] = ContextVar("resilient_ai.following", default=None)

# Context variables that the library sets for a call: they differ between calls, but tell nothing about the request. A
# policy adds its own.
OWN_VARIABLES: set[ContextVar[Any]] = {_seen, degraded_flag, following}


@dataclass(frozen=True, slots=True)
class CallObservers:
    """The observers of a call that another task makes for several callers."""

    seen: Seen | None
    flag: DegradedFlag | None
    following: Any = None

    @classmethod
    def here(cls) -> CallObservers:
        """The observers of the running call."""
        return cls(_seen.get(), degraded_flag.get(), following.get())

    @classmethod
    def anew(cls) -> CallObservers:
        """Start to collect facts in this task separately from the task that started it."""
        seen, flag = Seen(), DegradedFlag()
        _set_seen(seen)
        degraded_flag.set(flag)
        return cls(seen, flag)

    def take_over(self, other: CallObservers) -> None:
        """Add the facts that the observers of the shared call have collected."""
        if self.seen is not None and other.seen is not None:
            self.seen.add(other.seen)
        if self.flag is not None and other.flag is not None and other.flag.degraded:
            self.flag.degraded = True
