"""What a fallback is asked: the failed call, and the ways to answer it or to pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._classify import Verdict


class _NoAnswer:
    __slots__ = ()

    def __repr__(self) -> str:
        return "NO_ANSWER"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "NO_ANSWER"


NO_ANSWER: Final = _NoAnswer()
"""Returned by a rung that cannot answer; the next one is asked."""


@dataclass(frozen=True, slots=True)
class FailedCall:
    """
    One call, as the rungs of `degrade_to` see it. Its repr shows no argument: they may be prompts.

    Attributes:
        function: Qualified name of the decorated function.
        args: Positional arguments, without `self`.
        kwargs: Keyword arguments.
        arguments: All of them by parameter name, defaults filled in; positional ones by number where the
            function has no signature.
        instance: What a method is bound to, else None.
        error: What the call below raised; None when an answer is to be remembered.
        verdict: What `classify` says of it; None likewise.
    """

    function: str
    args: tuple[Any, ...] = field(default=(), repr=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    instance: Any = field(default=None, repr=False)
    error: BaseException | None = field(default=None, repr=False)
    verdict: Verdict | None = None


@runtime_checkable
class Recalling(Protocol):
    """A rung with a memory: asked on failure, and told the good answers if it also has `remember(call, answer)`."""

    def recall(self, call: FailedCall) -> Any:
        """An answer, `NO_ANSWER`, or an awaitable of either."""
        ...
