"""`@degrade_to`: when the AI is unavailable, the first fallback that has an answer gives it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from resilient_ai._classification.classify import classify
from resilient_ai._classification.error_rules import ErrorRule, error_rules
from resilient_ai._core.events import Degraded, RungFailed
from resilient_ai._core.fast_path import Begun, GoodPath, Handler
from resilient_ai._core.policy import Policy, Site, StreamHandler
from resilient_ai._core.public import public
from resilient_ai._core.scrub import scrub
from resilient_ai._core.stack import Decorator, decorate
from resilient_ai._core.state_store import StateStore, default_registry
from resilient_ai._core.watch import Fate, Seen, fate, watching

from .chain import Answer, Ladder, Rung, rungs_of
from .contract import FailedCall
from .handle import UNAVAILABLE, Degradation, DegradeConfig, Mark
from .memory_writer import Remembering

_LONGEST_STREAM = 1_000_000  # characters that are collected to be remembered


class DegradePolicy(Policy[Degradation]):
    kind = "degrade_to"
    signed = True

    def __init__(self, name: object, config: DegradeConfig, registry: StateStore) -> None:
        super().__init__(name, config, registry)
        self.config: DegradeConfig = config

    def make_state(self, name: str) -> Degradation:
        return Degradation(name, self.config.rungs)

    def bind(self, below: Callable[[Site], Handler], site: Site) -> Handler:
        for rung in self.config.rungs:
            if rung.streams:
                raise TypeError(f"rung {rung.name} of @degrade_to is a stream, but {site.function} returns one answer")
        inner, desk = below(site), _Desk(self, site)
        state, watched = desk.state, watching

        async def degraded(
            fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *begun: Begun
        ) -> Any:
            if watched() is not None:
                return await attended(fn, instance, args, kwargs, *begun)
            try:
                result = await inner(fn, instance, args, kwargs, *begun)
            except Exception as error:
                answer = await desk.answer(error, instance, args, kwargs)
                if answer is None:
                    raise
                return answer[0]
            state.good.ok += 1
            return result

        async def attended(
            fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *begun: Begun
        ) -> Any:
            own, outer = Fate(), fate.get()
            token = fate.set(own)
            try:
                result = await inner(fn, instance, args, kwargs, *begun)
            except Exception as error:
                answer = await desk.answer(error, instance, args, kwargs)
                if answer is None:
                    raise
                return answer[0]
            finally:
                try:  # noqa: SIM105 - suppress() would cost every call
                    fate.reset(token)
                except ValueError:
                    pass  # the loop was closed with this call in it, which is now collected in somebody else's context
                if own.degraded and outer is not None:
                    outer.degraded = True
            state.good.ok += 1
            if not own.degraded:
                desk.succeeded(result, instance, args, kwargs)
            return result

        return attended if desk.remembers else degraded

    def join(self, path: GoodPath, site: Site) -> bool:
        if any(rung.remember is not None for rung in self.config.rungs):
            return False
        path.counts.append(self.state(site).good)
        return True

    def bind_stream(self, below: Callable[[Site], StreamHandler], site: Site) -> StreamHandler:
        inner, desk = below(site), _Desk(self, site)

        async def degraded(
            fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> AsyncGenerator[Any, None]:
            own = Fate()
            collected = _Collected() if desk.remembers else None
            stream = inner(fn, instance, args, kwargs)
            try:
                try:
                    item = await _next(stream, own)
                except StopAsyncIteration:
                    desk.state.good.ok += 1
                    return
                except Exception as error:
                    fallback = await desk.answer_stream(error, instance, args, kwargs)
                    if fallback is None:
                        raise
                else:
                    fallback = None
                    while True:
                        if collected is not None:
                            collected.add(item)
                        yield item
                        try:
                            item = await _next(stream, own)
                        except StopAsyncIteration:
                            break
                        except Exception as error:
                            desk.passed(error)
                            raise
            finally:
                await stream.aclose()
            if fallback is not None:
                try:
                    async for item in fallback:
                        yield item
                finally:
                    await fallback.aclose()
                return
            desk.state.good.ok += 1
            if not own.degraded:
                desk.succeeded(collected.text() if collected is not None else None, instance, args, kwargs)

        return degraded


async def _next(stream: AsyncGenerator[Any, None], own: Fate) -> Any:
    """The next item; whether a fallback gave it is noted. Between items the consumer's context is its own again."""
    outer = fate.get()
    token = fate.set(own)
    try:
        return await anext(stream)
    finally:
        try:  # noqa: SIM105 - as above
            fate.reset(token)
        except ValueError:
            pass
        if own.degraded and outer is not None:
            outer.degraded = True


class _Collected:
    """The text of a stream while it passes; anything else, or too much, is not kept."""

    __slots__ = ("_length", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] | None = []
        self._length = 0

    def add(self, item: Any) -> None:
        if self._pieces is None:
            return
        if not isinstance(item, str) or self._length + len(item) > _LONGEST_STREAM:
            self._pieces = None
        else:
            self._pieces.append(item)
            self._length += len(item)

    def text(self) -> str | None:
        return None if self._pieces is None else "".join(self._pieces)


class _Desk:
    """What happens beside the call of one function: failures are answered, good answers remembered."""

    def __init__(self, policy: DegradePolicy, site: Site) -> None:
        self.state = policy.state(site)
        self._site = site
        self._config = policy.config
        self._registry = policy.registry
        self._memories = [rung for rung in policy.config.rungs if rung.remember is not None]
        self.remembers = bool(self._memories)
        self._ladder = Ladder(
            policy.config.rungs,
            policy.registry.clock,
            timeout=policy.config.rung_timeout,
            most=policy.config.max_concurrency,
            failed=self._rung_failed,
        )
        self._remembering: Remembering | None = None
        if self.remembers:
            self._remembering = Remembering(
                policy.registry.clock,
                timeout=policy.config.rung_timeout,
                failed=partial(self._rung_failed, doing="remember"),
                forgot=self.state.forgot,
            )

    async def answer(
        self, error: Exception, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any] | None:
        """The caller's answer, in a tuple because it may be None; None when the error is to be raised."""
        call = self._failed_call(error, instance, args, kwargs)
        if call is None:
            return None
        answer = await self._ladder.climb(call)
        if answer is None:
            self._missed(error)
            return None
        try:
            value = self._marked(answer, answer.value)
        except Exception as broken:  # noqa: BLE001 - a fallback must not pass for an answer, so it is not given
            self._rung_failed(answer.rung, call, broken, doing="mark")
            self._missed(error)
            return None
        self._tell(answer, error, call)
        return (value,)

    async def answer_stream(
        self, error: Exception, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, None] | None:
        """The fallback's items; None when the error is to be raised."""
        call = self._failed_call(error, instance, args, kwargs)
        if call is None:
            return None
        found = await self._ladder.climb_stream(call)
        if found is None:
            self._missed(error)
            return None
        answer, items = found
        try:
            first = self._marked(answer, await anext(items))
        except Exception as broken:  # noqa: BLE001 - as above
            await items.aclose()
            self._rung_failed(answer.rung, call, broken, doing="mark")
            self._missed(error)
            return None
        self._tell(answer, error, call)
        return _led_by(first, items)

    def _failed_call(
        self, error: Exception, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> FailedCall | None:
        verdict = classify(error)
        try:
            degrades = self._config.degrades(error, verdict)
        except Exception as broken:  # noqa: BLE001 - a predicate of the user's; the caller must see the provider's error
            error.add_note(f"a predicate of on= raised {type(broken).__name__}; the failure is not degraded")
            degrades = False
        if degrades:
            return replace(self._call(instance, args, kwargs), error=error, verdict=verdict)
        self.passed(error)
        return None

    def passed(self, error: Exception) -> None:
        """The error goes to the caller and no rung is asked."""
        self.state.passed()
        _note(watching(), error)

    def _missed(self, error: Exception) -> None:
        self.state.missed()
        _note(watching(), error)

    def _call(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> FailedCall:
        arguments = _arguments(self._site.signature, instance is not None, args, kwargs)
        return FailedCall(self._site.function, args, kwargs, arguments, instance, now=self._registry.clock.now())

    def _marked(self, answer: Answer, value: Any) -> Any:
        mark, label = self._config.mark, answer.rung.label
        if mark is None:
            return value
        if mark != "prefix":
            return mark(replace(answer.recalled, answer=value))
        return f"[{label}] {value}" if label is not None and isinstance(value, str) else value

    def _tell(self, answer: Answer, error: Exception, call: FailedCall) -> None:
        self.state.answered(answer.rung.name)
        recalled = answer.recalled
        if (mine := fate.get()) is not None:
            mine.degraded = True
        if (seen := watching()) is not None:
            seen.degraded, seen.error = True, error
            seen.source, seen.similarity, seen.age = recalled.source, recalled.similarity, recalled.age
        if self._registry.listening and call.verdict is not None:
            kind = call.verdict.error_type.value
            self._registry.emit(Degraded(self.state.name, answer.rung.name, kind, recalled.similarity, recalled.age))

    def succeeded(self, result: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The provider answered: say so to who watches, and let the rungs remember it."""
        _note(watching(), None)
        if self._remembering is None or result is None or _half_read(result):
            return
        call = self._call(instance, args, kwargs)
        for rung in self._memories:
            try:
                taking = rung.remember(call, result) if rung.remember is not None else None
                if inspect.isawaitable(taking):
                    self._remembering.later(rung, call, taking)
            except Exception as error:  # noqa: BLE001 - a memory must not break a call that went well
                self._rung_failed(rung, call, error, doing="remember")

    def _rung_failed(self, rung: Rung, call: FailedCall, error: Exception, doing: str = "recall") -> None:
        self.state.rung_failed(rung.name)
        if self._registry.listening:
            text = scrub(str(error), private=(*call.args, *call.kwargs.values()))
            self._registry.emit(RungFailed(self.state.name, rung.name, doing, f"{type(error).__name__}: {text}"))


async def _led_by(first: Any, items: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    try:
        yield first
        async for item in items:
            yield item
    finally:
        await items.aclose()


def _note(seen: Seen | None, error: Exception | None) -> None:
    """The latest call was not degraded."""
    if seen is not None:
        seen.degraded, seen.error = False, error
        seen.source = seen.similarity = seen.age = None


def _half_read(result: Any) -> bool:
    """An iterator is no answer yet: who reads it later reads what is left."""
    kind = type(result)
    return any(hasattr(kind, name) for name in ("__anext__", "__aiter__", "__next__", "__await__"))


def _arguments(
    signature: inspect.Signature | None, bound: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    if signature is not None:
        parameters = list(signature.parameters.values())[int(bound) :]
        try:
            given = signature.replace(parameters=parameters).bind(*args, **kwargs)
        except (TypeError, ValueError):  # `def method(*args)`, or a call that the function itself refused
            given = None
        if given is not None:
            given.apply_defaults()
            return _flat(parameters, given.arguments)
    return {**{str(number): value for number, value in enumerate(args)}, **kwargs}


def _flat(parameters: list[inspect.Parameter], arguments: dict[str, Any]) -> dict[str, Any]:
    """What `*args` and `**kwargs` took, by number and by name."""
    flat: dict[str, Any] = {}
    for parameter in parameters:
        value = arguments[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            flat.update((str(number), each) for number, each in enumerate(value, len(flat)))
        elif parameter.kind is parameter.VAR_KEYWORD:
            flat.update(value)
        else:
            flat[parameter.name] = value
    return flat


@public()
def degrade_to(
    *rungs: Any,
    name: str | None = None,
    on: ErrorRule | Iterable[ErrorRule] = UNAVAILABLE,
    mark: Mark | None = None,
    rung_timeout: float | None = 5.0,
    max_concurrency: int = 64,
    registry: StateStore | None = None,
) -> Decorator:
    """
    Answer from the next best source when the AI is unavailable.

    The rungs are asked in order, and the first that has an answer gives it. A rung is a value (the caller gets a copy
    of a mutable one), a function `(call: FailedCall) -> answer | NO_ANSWER`, sync or async, or an object with
    `recall(call)` and optionally `remember(call, answer)`, such as `LastAnswer()`. A rung that raises or runs out of
    time is logged and passed over. When every rung passes, the caller gets the original error.

    Args:
        *rungs: From the best answer to the plainest. A value always answers, so that it comes last.
        name: Call sites of one name share one set of numbers. Default: the function's qualified name.
        on: Exception types, ErrorTypes or predicates that mean "unavailable", in place of the default: every error
            type but invalid request, context length and content filter. An ErrorType never means a plain Python
            error of a programmer (TypeError, KeyError, ValueError, ...) that nothing recognises as a provider's;
            name the exception type to degrade on it. Other exceptions that nothing recognises are degraded, and so
            is a reply that is no JSON.
        mark: "prefix" puts "[CACHED] " before text from a rung that recalls and "[RULE-BASED] " before text from a
            function; values stay as they are. Or a function that gets a `Recalled` and returns the answer.
        rung_timeout: Seconds that an async rung has for one call, waiting for its turn included. Default 5; None: no
            bound. A rung that is not async runs at once and must not block.
        max_concurrency: Async rungs at work at a time, per event loop. Default 64. Calls that fail together are
            answered by one computation if nothing that a rung can see tells them apart: function, instance,
            arguments, kind of error, context variables.
        registry: Where the numbers live. Default: `resilient_ai.registry`.

    Raises:
        TypeError: At decoration: not an async function.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """
    config = DegradeConfig(
        rungs_of(rungs),
        error_rules("on", on),
        mark,
        rung_timeout,
        max_concurrency,
    )

    def put_on(fn: Any = None, /, *more: Any, **named: Any) -> Any:
        # Without its parentheses, `@degrade_to` took the function for a rung, and this is a call of it.
        if more or named or (not callable(fn) and not isinstance(fn, classmethod | staticmethod)):
            got = "the arguments of a call" if more or named else f"a {type(fn).__qualname__}"
            raise TypeError(
                f"@degrade_to needs an async function, got {got};"
                " write @degrade_to(fallback, ...) with its rungs in parentheses"
            )
        return decorate(fn, DegradePolicy(name, config, registry if registry is not None else default_registry()))

    return put_on
