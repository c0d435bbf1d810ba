"""The settings of a fallback, and the decisions that depend only on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Literal

from resilient_ai._classification.error_rules import ErrorRule, matches
from resilient_ai._classification.error_types import ERROR_TYPES
from resilient_ai._classification.verdict import Verdict
from resilient_ai._core.checks import check_number
from resilient_ai._core.errors import ErrorType
from resilient_ai._core.plain_settings import Default
from resilient_ai._usage.reply import Reply

from .contract import Recalled
from .fallback import Rung

Mark = Literal["prefix"] | Callable[[Recalled], Any]

UNAVAILABLE: Final[tuple[ErrorType, ...]] = tuple(kind for kind in ErrorType if ERROR_TYPES[kind].degrade)
"""The default of `on=`: error types with which the request itself was fine, so that another answer helps."""

DEFAULT_RUNG_TIMEOUT: Final = Default(5.0)


@dataclass(frozen=True, slots=True)
class DegradeConfig:
    """Settings that call sites of one name share."""

    timeouts: ClassVar[tuple[str, ...]] = ("rung_timeout",)

    rungs: tuple[Rung, ...]
    on: tuple[ErrorRule, ...] = field(default=UNAVAILABLE, repr=False)
    mark: Mark | None = None
    rung_timeout: float | None = DEFAULT_RUNG_TIMEOUT
    max_concurrency: int = 64
    stream: bool = False
    plain: bool = field(default=False, repr=False)  # for a plain function, which has no timeouts

    def __post_init__(self) -> None:
        check_number("rung_timeout", self.rung_timeout, above=0, optional=True)
        check_number("max_concurrency", self.max_concurrency, least=1, whole=True)
        if self.mark is not None and self.mark != "prefix" and not callable(self.mark):
            raise ValueError(f'mark must be "prefix", a function of the Recalled answer or None, got {self.mark!r}')

    def degrades(self, error: Exception, verdict: Verdict) -> bool:
        """Whether the rungs are asked. Errors of a predicate of `on=` are raised."""
        named = tuple(rule for rule in self.on if not isinstance(rule, ErrorType))
        if matches(named, error, verdict):
            return True
        return verdict.error_type in self.on and verdict.blame != "program"

    def marked(self, rung: Rung, recalled: Recalled, value: Any) -> Any:
        """The value that the caller gets, marked. Errors of a function given as `mark=` are raised."""
        if self.mark is None:
            return value
        if self.mark != "prefix":
            return self.mark(replace(recalled, answer=value))
        if rung.label is None or not isinstance(value, str):
            return value
        text = f"[{rung.label}] {value}"
        return value.with_text(text) if isinstance(value, Reply) else text
