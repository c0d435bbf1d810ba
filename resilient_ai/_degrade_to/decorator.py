"""`@degrade_to`: when the AI is unavailable, the first fallback with an answer gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from resilient_ai._classification.error_rules import ErrorRule, error_rules
from resilient_ai._core.callables import name_of, shape_of, without_parentheses
from resilient_ai._core.fast_path import FastPath
from resilient_ai._core.handlers import Handler
from resilient_ai._core.kinds import kind_of
from resilient_ai._core.plain_settings import for_plain_functions
from resilient_ai._core.policy import Policy, Site
from resilient_ai._core.public import public
from resilient_ai._core.state_store import StateStore, default_registry
from resilient_ai._core.time_bound import Limit
from resilient_ai._core.wrapper import Decorator, decorate

from .config import DEFAULT_RUNG_TIMEOUT, UNAVAILABLE, DegradeConfig, Mark
from .course import DegradedFunction
from .fallback import rungs_of
from .fallback_call import FallbackSite
from .handle import Degradation
from .stream_wish import may_stream
from .time_for_fallback import left_for_call


class DegradePolicy(Policy[Degradation]):
    kind = "degrade_to"
    answers_itself = True
    rank = 10
    not_inside = "never sees a failure, because degrade_to answers it"
    needs_signature = True
    changeable = ("mark", "rung_timeout", "max_concurrency")

    def __init__(self, name: object, config: DegradeConfig, registry: StateStore) -> None:
        super().__init__(name, config, registry)
        self.config: DegradeConfig = config

    @classmethod
    def default_config(cls) -> DegradeConfig:
        return DegradeConfig(())

    def check_plain(self, function: Any) -> None:
        """
        Refuse rungs that have to be awaited.

        Raises:
            TypeError: A rung is an async function.
        """
        for rung in self.config.rungs:
            if rung.is_async:
                raise TypeError(
                    f"rung {rung.name} of @degrade_to has to be awaited, and {name_of(function)} is a plain function;"
                    " make the rung a plain one too"
                )

    def make_state(self, name: str) -> Degradation:
        return Degradation(name, self.config.rungs)

    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        for rung in self.config.rungs:
            if rung.streams_for(plain=site.plain) and not may_stream(site, self.config):
                raise TypeError(f"rung {rung.name} of @degrade_to is a stream, but {site.function} returns one answer")
            if not site.plain and rung.streams_for(plain=True):
                raise TypeError(
                    f"rung {rung.name} of @degrade_to is a plain generator, and {site.function} is async: its answer"
                    f" would be the generator object; make it `async def {rung.name}`"
                )
        here = FallbackSite(self.config, self.state(site)._state, self.registry, site)
        return DegradedFunction(bind_inner(site), here).call

    def add_to_fast_path(self, path: FastPath, site: Site) -> bool:
        if any(rung.remember is not None for rung in self.config.rungs):
            return False
        path.counts.append(self.state(site)._state.good)
        path.looks = path.answers = True
        path.limits.append(Limit(self.state(site)._state, left_for_call))
        return True


@public()
def degrade_to(
    *rungs: Any,
    name: str | None = None,
    on: ErrorRule | Iterable[ErrorRule] = UNAVAILABLE,
    mark: Mark | None = None,
    rung_timeout: float | None = DEFAULT_RUNG_TIMEOUT,
    max_concurrency: int = 64,
    stream: bool = False,
    registry: StateStore | None = None,
) -> Decorator:
    """
    Answer from the next best source when the AI is unavailable.

    The rungs are asked in order, and the first one with an answer gives it. A rung is a value (the caller gets a copy
    of a mutable one), a function `(call: FailedCall) -> answer | NO_ANSWER`, sync or async, or an object with
    `recall(call)` and optionally `remember(call, answer)`, such as `LastAnswer()`. A rung that raises or runs out of
    time is logged and skipped. If every rung passes, the caller gets the original error.

    Args:
        *rungs: The rungs, from the best answer to the simplest. A value always answers, so it comes last.
        name: Call sites of one name share one set of numbers. Default: the function's qualified name.
        on: Exception types, ErrorTypes or predicates that mean "unavailable", in place of the default: every error
            type except invalid request, context length and content filter. An ErrorType never matches a Python
            programming error (TypeError, KeyError, ValueError, ...) that is not recognised as a provider's; name the
            exception type to degrade on it. Other unrecognised exceptions are degraded, and so is a reply that is
            not JSON.
        mark: "prefix" puts "[CACHED] " before text from a rung that recalls and "[RULE-BASED] " before text from a
            function; values stay unchanged. Or a function that takes a `Recalled` and returns the answer. Default
            None: answers are not marked.
        rung_timeout: Seconds that an async rung has for one call, including the wait for its turn. Default 5; None:
            no bound. A rung that is not async runs at once and must not block. Not for plain functions, whose rungs
            block.
        max_concurrency: Most async rungs running at a time, per event loop. Default 64. Calls that fail together
            share one computation if a rung cannot tell them apart: same function, instance, arguments, kind of error
            and context variables.
        stream: Whether to answer with a stream, for functions that return one. Default False: only if an earlier
            answer of this call site was a stream, `stream=True` is among the arguments, or the return annotation is
            a stream. In a stream a value is one item, and an async iterator gives its items.
        registry: The registry that keeps the numbers. Default: `resilient_ai.registry`.

    Raises:
        TypeError: At decoration: not a function, or an async rung for a plain one.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """
    config = DegradeConfig(
        rungs_of(rungs),
        error_rules("on", on),
        mark,
        rung_timeout,
        max_concurrency,
        stream,
    )

    def put_on(fn: Any = None, /, *more: Any, **named: Any) -> Any:
        # `@degrade_to` without parentheses has taken the function for a rung, and this call is meant for the function.
        if more or named or not without_parentheses(fn):
            got = "the arguments of a call" if more or named else kind_of(fn)
            raise TypeError(
                f"@degrade_to needs a function, got {got};"
                " write @degrade_to(fallback, ...) with its rungs in parentheses"
            )
        where = registry if registry is not None else default_registry()
        settings = for_plain_functions(config) if shape_of(fn, DegradePolicy.kind).plain else config
        return decorate(fn, DegradePolicy(name, settings, where))

    return put_on
