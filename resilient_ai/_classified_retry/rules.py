"""The settings of a retry: one rule for each error type, and the bounds on all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from resilient_ai._classification.error_types import ERROR_TYPES
from resilient_ai._classification.probes import PROBES_ANSWER_SECONDS
from resilient_ai._core.checks import check_number
from resilient_ai._core.errors import ErrorType
from resilient_ai._core.public import public
from resilient_ai._core.settings import replaced, unknown

from .budget import RetryBudget

if TYPE_CHECKING:
    from collections.abc import Callable

    import tenacity

    from resilient_ai._classification.error_rules import Reject
    from resilient_ai._core.commit_point import Commits

T = TypeVar("T")


@public()
@dataclass(frozen=True, slots=True)
class RetryRule:
    """
    How one type of error is retried. Times are in seconds.

    Args:
        max_retries: Most retries after this type in one call.
        base_delay: Delay before the first of them, in seconds.
        max_delay: Longest delay, in seconds; a provider that asks for more is not waited for.
        multiplier: Growth of the delay from one retry to the next. Default 2.0.
        jitter: "full" sleeps anywhere in [0, delay], "equal" in [delay / 2, delay], "none" exactly delay.
    """

    max_retries: int
    base_delay: float
    max_delay: float
    multiplier: float = 2.0
    jitter: Literal["full", "equal", "none"] = "full"

    def __post_init__(self) -> None:
        check_number("max_retries", self.max_retries, least=0, whole=True)
        check_number("base_delay", self.base_delay, least=0)
        check_number("max_delay", self.max_delay, least=self.base_delay, relative=True)
        check_number("multiplier", self.multiplier, least=1)
        if self.jitter not in ("full", "equal", "none"):
            raise ValueError(f"jitter must be 'full', 'equal' or 'none', got {self.jitter!r}")

    def delay(self, retry: int, roll: float) -> float:
        """Seconds before retry number `retry` (from 1); `roll` is the random number for the jitter, in [0, 1)."""
        try:
            most = min(self.max_delay, self.base_delay * self.multiplier ** (retry - 1))
        except OverflowError:  # after thousands of retries
            most = self.max_delay
        if self.jitter == "none":
            return most
        return most * roll if self.jitter == "full" else most * (1 + roll) / 2


DEFAULT_RULES: Mapping[ErrorType, RetryRule] = {
    kind: RetryRule(*row.retry) for kind, row in ERROR_TYPES.items() if row.retry is not None
}

# A circuit whose probes are all in flight knows only how long a probe may take at most. Most probes are answered much
# sooner, so the circuit is asked again after a short time.
PROBES_IN_FLIGHT = RetryRule(20, PROBES_ANSWER_SECONDS, 2.0, jitter="equal")

# With a deadline, for calls that our own side refused without sending them. A circuit that stays open for longer than
# its default rule allows is not waited for; a wait for a limit is bounded by the deadline only.
WAIT_FOR_CIRCUIT = RetryRule(100, 0.5, DEFAULT_RULES[ErrorType.CIRCUIT_OPEN].max_delay, multiplier=1.0, jitter="equal")
WAIT_FOR_LIMIT = RetryRule(100, 0.5, 3600.0, multiplier=1.0, jitter="equal")


def _part(cls: type[T], path: str, before: T | None, changes: Mapping[str, Any]) -> T:
    """A rule or a budget with changed values; a new one if there was none."""
    known = [each.name for each in fields(cls)]  # type: ignore[arg-type]  # both are dataclasses
    for name in changes:
        if name not in known:
            raise ValueError(unknown(f"{path} has no setting", name, known))
    try:
        return cls(**changes) if before is None else replace(before, **changes)  # type: ignore[type-var]
    except TypeError:
        missing = [each.name for each in fields(cls) if each.default is MISSING and each.name not in changes]  # type: ignore[arg-type]
        raise ValueError(f"{path} is new here and needs {', '.join(missing)} as well") from None
    except ValueError as error:
        raise ValueError(f"{path}.{error}") from None


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """Settings that call sites of one name share."""

    timeouts: ClassVar[tuple[str, ...]] = ("timeout_seconds",)

    rules: tuple[tuple[ErrorType, RetryRule], ...]
    max_attempts: int = 6
    max_elapsed: float | None = None
    budget: RetryBudget | None = field(default_factory=RetryBudget)
    timeout_seconds: float | None = None
    plain: bool = field(default=False, repr=False)  # for a plain function, which has no timeouts

    def __post_init__(self) -> None:
        check_number("max_attempts", self.max_attempts, least=1, whole=True)
        check_number("max_elapsed", self.max_elapsed, above=0, optional=True)
        check_number("timeout_seconds", self.timeout_seconds, above=0, optional=True)
        if not isinstance(self.budget, RetryBudget | None):
            raise ValueError(f"budget must be a RetryBudget or None, got {self.budget!r}")

    def changed(self, changes: Mapping[str, Any]) -> RetryConfig:
        """
        A copy with other settings; values that `rules` and `budget` do not name stay.

        Raises:
            TypeError: A setting within them is missing or unknown.
            ValueError: A setting has a bad value.
        """
        changes = dict(changes)
        if "rules" in changes:
            changes["rules"] = self._changed_rules(changes["rules"])
        if isinstance(budget := changes.get("budget"), Mapping):
            changes["budget"] = _part(RetryBudget, "budget", self.budget, budget)
        return replaced(self, changes)

    def _changed_rules(self, given: Any) -> tuple[tuple[ErrorType, RetryRule], ...]:
        if not isinstance(given, Mapping):
            raise ValueError(f"rules maps error types to their settings, or to None, got {given!r}")
        rules: dict[ErrorType, RetryRule | None] = dict(self.rules)
        for name, rule in given.items():
            if name not in tuple(ErrorType):
                raise ValueError(unknown("rules has no error type", name, [each.value for each in ErrorType]))
            kind = ErrorType(name)
            if isinstance(rule, Mapping):
                rule = _part(RetryRule, f"rules.{name}", rules.get(kind), rule)
            rules[kind] = rule
        return merged_rules({**dict.fromkeys(DEFAULT_RULES), **rules})

    def rule(self, error_type: ErrorType) -> RetryRule | None:
        for kind, rule in self.rules:
            if kind is error_type:
                return rule
        return None


@dataclass(frozen=True, slots=True)
class RetryChoices:
    """
    Settings that each call site chooses for itself, independent of its name.

    Attributes:
        on: Only these types are retried; None: every type with a rule.
        reraise: Whether the original error is raised in the end.
        unsent_only: Whether to retry only errors that prove that the request was not processed.
        reject: Which results count as failures.
        stop: A tenacity condition that ends the attempts.
        wait: A tenacity wait in place of the rules' backoff.
        retry: A tenacity condition in place of the rules' choice of errors.
        commits: Which items of a stream are content.
    """

    on: frozenset[ErrorType] | None = None
    reraise: bool = False
    unsent_only: bool = False
    reject: Reject | None = None
    stop: Callable[[tenacity.RetryCallState], bool] | None = None
    wait: Callable[[tenacity.RetryCallState], float] | None = None
    retry: Callable[[tenacity.RetryCallState], bool] | None = None
    commits: Commits | None = None


_DEFAULTS = tuple(DEFAULT_RULES.items())


def merged_rules(changes: Mapping[ErrorType, RetryRule | None] | None) -> tuple[tuple[ErrorType, RetryRule], ...]:
    """The default rules with the changes of a call site; `ValueError` for anything that is not a rule."""
    if changes is None:
        return _DEFAULTS  # one tuple for all
    rules: dict[ErrorType, RetryRule | None] = {**DEFAULT_RULES}
    given: Any = changes  # a caller without a type checker may pass anything
    if not isinstance(given, Mapping):
        raise ValueError(f"rules maps ErrorTypes to RetryRules or None, got {given!r}")
    for kind, rule in given.items():
        if not isinstance(kind, ErrorType) or not isinstance(rule, RetryRule | None):
            known = not isinstance(kind, ErrorType) and kind in set(ErrorType)
            way_out = f"; write ErrorType.{ErrorType(kind).name}" if known else ""
            raise ValueError(f"rules maps ErrorTypes to RetryRules or None, got {kind!r}: {rule!r}{way_out}")
        rules[kind] = rule
    return tuple((kind, rule) for kind, rule in rules.items() if rule is not None)


def chosen_types(on: Collection[ErrorType] | None, config: RetryConfig) -> frozenset[ErrorType] | None:
    """The types that a call site retries; `ValueError` for one without a rule."""
    if on is None:
        return None
    given: Any = on  # a caller without a type checker may pass anything
    if not isinstance(given, Collection) or isinstance(given, str | bytes):
        raise ValueError(f"on takes ErrorTypes such as [ErrorType.TIMEOUT], got {given!r}")
    for kind in given:
        if not isinstance(kind, ErrorType) or config.rule(kind) is None:
            raise ValueError(f"on names {kind!r}, which has no rule; give it one with rules={{...: RetryRule(...)}}")
    return frozenset(on)
