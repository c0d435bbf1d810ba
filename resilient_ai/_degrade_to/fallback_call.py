"""The fallback side of one call: the chain answers a failure, and the memories keep a good answer."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

from resilient_ai._classification.classify import classify
from resilient_ai._classification.error_text import error_text
from resilient_ai._core.call_facts import current_flag, no_fallback_answered, watching
from resilient_ai._core.errors import ErrorType, rejections
from resilient_ai._core.plain_calls import bare
from resilient_ai._core.returned_stream import stream_of_items
from resilient_ai._core.scrub import scrub
from resilient_ai._core.started_call import StartedCall
from resilient_ai._core.streams import dispose_rejected

from .arguments import arguments_by_name
from .chain import FallbackChain
from .complete import ended_well
from .contract import FailedCall
from .events import Degraded, RungFailed
from .memory_writer import MemoryWriter
from .plain_rungs import waited_for
from .scope import Carried
from .stream_wish import StreamWish, stream_argument

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_ai._classification.verdict import Verdict
    from resilient_ai._core.call_facts import Seen
    from resilient_ai._core.callables import SeenSignature
    from resilient_ai._core.policy import Site
    from resilient_ai._core.state_store import StateStore

    from .config import DegradeConfig
    from .fallback import Answer, Rung
    from .state import DegradeState


_NONE: frozenset[type] = frozenset()  # shared: an empty one for each would need as much memory as the rest of a site


class FallbackSite:
    """
    What the calls of one decorated function have in common.

    Attributes:
        state: Its counts.
        memories: The rungs that get good answers.
        plain: Whether the function is plain, so that its callers block.
    """

    __slots__ = (
        "_carried",
        "_chain",
        "_checked",
        "_checks",
        "_seen",
        "_streaming",
        "_wish",
        "_writer",
        "config",
        "function",
        "memories",
        "plain",
        "registry",
        "state",
    )

    def __init__(self, config: DegradeConfig, state: DegradeState, registry: StateStore, site: Site) -> None:
        self.config = config
        self.state = state
        self.registry = registry
        self.function = site.function
        self._seen: SeenSignature | None = site.seen
        self.plain = site.plain
        self._streaming = site.streaming
        self.memories = tuple(rung for rung in config.rungs if rung.remember is not None)
        self._checks = tuple(rung.check_site for rung in self.memories if rung.check_site is not None)
        self._checked: frozenset[type] = _NONE
        # Made at the first call that needs them: most functions never do, and they need memory.
        self._chain: FallbackChain | None = None
        self._writer: MemoryWriter | None = None
        self._wish: StreamWish | None = None
        self._carried: Carried | None = None

    @property
    def signature(self) -> inspect.Signature | None:
        """The signature of the function; None when Python cannot tell."""
        return None if self._seen is None else self._seen.found

    @property
    def chain(self) -> FallbackChain:
        """The fallback chain."""
        with self.state.lock:  # two threads that each make one would double the bound
            if self._chain is None:
                config = self.config
                self._chain = FallbackChain(
                    config.rungs,
                    self.registry.clock,
                    timeout=config.rung_timeout,
                    most=config.max_concurrency,
                    failed=self.rung_failed,
                    plain=self.plain,
                )
        return self._chain

    @property
    def writer(self) -> MemoryWriter:
        """The writer for async memories."""
        with self.state.lock:
            if self._writer is None:
                self._writer = MemoryWriter(
                    self.registry.clock,
                    timeout=self.config.rung_timeout,
                    failed=partial(self.rung_failed, doing="remember"),
                    forgot=self.state.count_forgotten,
                )
        return self._writer

    @property
    def wish(self) -> StreamWish:
        """Tells whether its calls expect streams."""
        if self._wish is None:
            always = self._streaming or self.config.stream
            self._wish = StreamWish(self.signature, always=always, plain=self.plain)
        return self._wish

    def carried(self, fn: Callable[..., Any], instance: Any) -> Carried:
        """What the function carries besides its arguments and, for a method, its instance."""
        if self._carried is None:
            fn = fn.function if isinstance(fn, StartedCall) else fn
            self._carried = Carried(bare(fn if instance is None else getattr(fn, "__func__", fn)))
        return self._carried

    def check(self, call: FallbackCall) -> None:
        """
        Let the memories check the function before its first call.

        Raises:
            ValueError: A memory cannot tell who may share the function's answers.
        """
        kind = type(call.instance)
        if not self._checks or kind in self._checked:
            return
        seen = call.as_rungs_see_it()
        for check_site in self._checks:
            check_site(seen)
        self._checked |= {kind}

    def rung_failed(self, rung: Rung, call: FailedCall, error: Exception, doing: str = "recall") -> None:
        self.state.count_rung_failure(rung.name)
        if self.registry.hears(RungFailed):
            # A rung is the user's code: the text of its bugs is shown, but not what a validator quotes.
            verdict = classify(error)
            misfit = verdict.error_type is ErrorType.INVALID_OUTPUT
            said = error_text(error, verdict) if misfit else str(error)
            text = scrub(said, private=(*call.args, *call.kwargs.values()))
            self.registry.emit(RungFailed(self.state.name, rung.name, doing, f"{type(error).__name__}: {text}"))


class FallbackCall:
    """One call; made when it has failed, or when there is a good answer to remember."""

    __slots__ = ("_args", "_fn", "_kwargs", "_site", "instance")

    def __init__(
        self,
        site: FallbackSite,
        fn: Callable[..., Any],
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._site = site
        self._fn = fn
        self.instance = instance
        self._args = args
        self._kwargs = kwargs

    async def answer(self, error: Exception) -> Answer | None:
        """The answer to a failure, a stream if one is expected; None if the error is to be raised."""
        verdict = classify(error)
        try:
            degrades = self._site.config.degrades(error, verdict)
        except Exception as broken:  # noqa: BLE001 - a predicate of the user's; the caller must see the provider's error
            error.add_note(f"a predicate of on= raised {type(broken).__name__}; the failure is not degraded")
            degrades = False
        if not degrades:
            self.passed(error)
            return None
        call, chain = self.as_rungs_see_it(error, verdict), self._site.chain
        streams = self._site.wish.of(call)
        answer = await (chain.first_item(call) if streams else chain.first_answer(call))
        if answer is None or not await self._mark(answer, call):
            self._site.state.count_miss()
            _note(watching(), error)
            return None
        self._tell(answer, error, call)
        await dispose_rejected(rejections(error))
        if streams:
            items = chain.items(answer, answer.given)
            answer.given = stream_of_items(items)
        return answer

    @property
    def is_remembered(self) -> bool:
        """Whether a memory may keep its answer."""
        return bool(self._site.memories)

    def learn(self, *, streamed: bool) -> None:
        """Learn whether answers of this function are streams."""
        wish = self._site.wish
        if wish.doubts or (streamed and not wish.certain):
            arguments = arguments_by_name(self._site.signature, self.instance is not None, self._args, self._kwargs)
            wish.learn(stream_argument(arguments, self._kwargs), streamed=streamed)

    def counted(self) -> None:
        """Count an answer of the provider."""
        self._site.state.good.one_more()

    def passed(self, error: Exception) -> None:
        """Count an error that goes to the caller without asking a rung."""
        self._site.state.count_passed()
        _note(watching(), error)

    def succeeded(self, result: Any) -> None:
        """Take in an answer of the provider: tell the observers, and let the memories keep the answer."""
        site = self._site
        _note(watching(), None)
        if not site.memories or result is None or _half_read(result):
            return
        well = ended_well(result)
        memories = [rung for rung in site.memories if well or rung.judges_answers]
        if not memories:
            return
        call = self.as_rungs_see_it()
        for rung in memories:
            try:
                taking = rung.remember(call, result) if rung.remember is not None else None
                if inspect.isawaitable(taking) and site.plain:
                    waited_for(taking, f"remember of rung {rung.name}")
                elif inspect.isawaitable(taking):
                    site.writer.later(rung, call, taking)
            except Exception as error:  # noqa: BLE001 - a memory must not break a call that went well
                site.rung_failed(rung, call, error, doing="remember")

    def as_rungs_see_it(self, error: Exception | None = None, verdict: Verdict | None = None) -> FailedCall:
        site, instance, args, kwargs = self._site, self.instance, self._args, self._kwargs
        arguments = arguments_by_name(site.signature, instance is not None, args, kwargs)
        now, carried = site.registry.clock.now(), site.carried(self._fn, instance)
        return FailedCall(site.function, args, kwargs, arguments, instance, error, verdict, now, carried, site.plain)

    async def _mark(self, answer: Answer, call: FailedCall) -> bool:
        """
        Mark the answer; False if that failed: an unmarked answer is not used, because it would look like a real one.
        """
        try:
            answer.given = self._site.config.marked(answer.rung, answer.recalled, answer.own_value)
        except Exception as broken:  # noqa: BLE001 - a function of the user's
            await answer.close()
            self._site.rung_failed(answer.rung, call, broken, doing="mark")
            return False
        return True

    def _tell(self, answer: Answer, error: Exception, call: FailedCall) -> None:
        state, registry, recalled = self._site.state, self._site.registry, answer.recalled
        state.count_answer(answer.rung.name)
        if (flag := current_flag()) is not None:
            flag.degraded = True
        if (seen := watching()) is not None:
            seen.degraded, seen.error = True, error
            seen.source, seen.similarity, seen.age = recalled.source, recalled.similarity, recalled.age
        if call.verdict is not None and registry.hears(Degraded):
            kind = call.verdict.error_type.value
            registry.emit(Degraded(state.name, answer.rung.name, kind, recalled.similarity, recalled.age))


def _note(seen: Seen | None, error: Exception | None) -> None:
    """Record that no fallback answered the latest call."""
    if seen is not None:
        no_fallback_answered(seen, error)


def _half_read(result: Any) -> bool:
    """Whether the result is an iterator, of which a later reader would get only the rest."""
    kind = type(result)
    return any(hasattr(kind, name) for name in ("__anext__", "__aiter__", "__next__", "__await__"))
