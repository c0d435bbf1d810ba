"""The contract of a rung: the failed call that it is asked about, and how it answers or passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from resilient_ai._classification.verdict import Verdict
from resilient_ai._core.public import public

from .scope import Carried

if TYPE_CHECKING:
    from collections.abc import Callable


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


@public()
@dataclass(frozen=True, slots=True)
class FailedCall:
    """
    One call, as the rungs of `degrade_to` get it. Its repr shows no arguments, which may be prompts.

    Attributes:
        function: Qualified name of the decorated function.
        args: Positional arguments, without `self`.
        kwargs: Keyword arguments.
        arguments: All arguments by parameter name, with defaults filled in, without `self`. Those in `*args` go by
            their number, "0", and those in `**kwargs` by their name.
        instance: The instance that a method is bound to, else None.
        error: The error of the call below; None if an answer is to be remembered.
        verdict: What `classify` says about the error; None without an error.
        now: Monotonic seconds of the registry's clock; only differences mean something.
        carried: What the function carries besides its arguments, for the scope of a memory; None if unknown.
        plain: Whether the function is a plain one (`def`), whose thread a rung may block.
    """

    function: str
    args: tuple[Any, ...] = field(default=(), repr=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    instance: Any = field(default=None, repr=False)
    error: BaseException | None = field(default=None, repr=False)
    verdict: Verdict | None = None
    now: float = 0.0
    carried: Carried | None = field(default=None, repr=False, compare=False)
    plain: bool = field(default=False, repr=False)


@public("types")
@dataclass(frozen=True, slots=True)
class Recalled:
    """
    An answer with its origin. A rung may return one in place of the bare answer; a function `mark=` gets one.

    Attributes:
        answer: The answer for the caller. Not in the repr.
        source: The source of the answer, as text. Default: the rung's own name.
        similarity: Cosine similarity of the recalled question, 1.0 for the same one; None if not recalled.
        age: Seconds since the provider gave the answer; None if the provider did not give it.
    """

    answer: Any = field(repr=False)
    source: str | None = None
    similarity: float | None = None
    age: float | None = None


@public("types")
@runtime_checkable
class Recalling(Protocol):
    """
    A rung with a memory: asked after a failure, and given the good answers if it also has `remember(call, answer)`.

    Both methods may be `async def`. `remember` is called with complete answers of the provider, never with None or an
    iterator; for a stream, with its whole text. A plain `remember` runs before the caller gets the answer and must not
    block; an async one runs alongside the caller.

    A rung, function or object, may have these attributes too:

    - `name`: its name in statistics and `watch()`; default its own `__name__` or its class.
    - `label`: the text that `mark="prefix"` puts in brackets, or None for none; default "CACHED" for a rung that
      recalls, "RULE-BASED" for a function, nothing for a value.
    - `stats()`: its own numbers, which the registry shows with those of the policy.
    - `judges_answers`: True for a memory that also gets answers that did not end well (cut, refused, a tool call,
      blank) and filters them itself.
    - `check_site(call)`: called before the first call of a function, with that call; raises a ValueError if the
      memory cannot tell who may share the function's answers.
    """

    def recall(self, call: FailedCall) -> Any:
        """An answer, a `Recalled`, `NO_ANSWER`, or an awaitable of one of them."""
        ...


def text_of(call: FailedCall, which: str | Callable[[FailedCall], str | None] | None = None) -> str | None:
    """
    The text that a call asks about.

    Args:
        call: The call.
        which: Name of the argument, or a function of the call. Default: the last user message of an argument
            `messages`, else the first argument that is a string.

    Returns:
        The text; None if there is none, or if the argument holds neither text nor chat messages.
    """
    if callable(which):
        return _text_in(which(call))
    if which is not None:
        return _text_in(call.arguments.get(which))
    if "messages" in call.arguments:
        return _text_in(call.arguments["messages"])
    return next((value for value in call.arguments.values() if isinstance(value, str)), None)


def _text_in(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple):
        return None
    said = [
        each["content"] for each in value if isinstance(each, dict) and each.get("role") == "user" and "content" in each
    ]
    if not said or isinstance(said[-1], str):
        return said[-1] if said else None
    parts = [each.get("text") for each in said[-1] if isinstance(each, dict)] if isinstance(said[-1], list) else []
    return "\n".join(part for part in parts if isinstance(part, str)) or None
