"""Folding: make one handler, and if possible one fast path, from the policies of a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from types import FunctionType
from typing import TYPE_CHECKING, Any

from .backend import LOCK_FREE
from .callables import Place, SeenSignature, Shape, named, shape_of, unique_name
from .fast_path import FastPath
from .measurements import TimedLayers
from .metering import metered, metered_function
from .opening import opening_for
from .plain_calls import driven, lifted
from .plain_streams import driven_generator, lifted_generator
from .policy import Site
from .streams import items_of

if TYPE_CHECKING:
    from .commit_point import Commits
    from .handlers import Handler
    from .metering import Meter, Meters
    from .observers import Observer
    from .policy import Policy


class Stack:
    """
    A function and its policies, outermost first, folded into one handler.

    Attributes:
        called: The function as the layers call it: a plain one is lifted to an async one.
        handler: Runs the layers; for a plain function, to their end.
        name: Unique name of the function.
        call_site: Name of the outermost policy's state.
        observers: The observers of its calls.
    """

    __slots__ = (
        "_layers",
        "call_site",
        "called",
        "function",
        "handler",
        "name",
        "observers",
        "plain",
        "policies",
        "streaming",
    )

    def __init__(
        self,
        function: Any,
        policies: tuple[Policy[Any], ...],
        name: str | None = None,
        observers: tuple[Observer, ...] = (),
    ) -> None:
        self.function = function
        self.policies = policies
        shape = shape_of(function, policies[0].kind) if policies else Shape(plain=False, streaming=False)
        self.plain, self.streaming = shape
        if self.plain:
            for policy in policies:
                policy.check_plain(function)
        self.called = self.lifted(function)
        self.name = name if name is not None else unique_name(function)
        self.call_site = (policies[0].name if policies else None) or self.name
        self.observers = observers
        self._layers = self._fold()
        if self.streaming:
            named(self._layers, self.name)
        self.handler = self._run_to_end(self._layers)

    @property
    def site(self) -> Site:
        """The call site of the outermost policy. Not kept, because it needs memory and is used at decoration only."""
        return Site(self.name, Place.of(self.function), streaming=self.streaming, plain=self.plain)

    def _run_to_end(self, call: Callable[..., Any]) -> Callable[..., Any]:
        if not self.plain:
            return call
        return driven_generator(call) if self.streaming else driven(call, self.name)

    def lifted(self, bound: Callable[..., Any]) -> Callable[..., Any]:
        """The function, or a bound method of it, in the form that the layers call."""
        if not self.plain:
            return bound
        return lifted_generator(bound) if self.streaming else lifted(bound)

    def _fold(self) -> Callable[..., Any]:
        policies, here = self.policies, self.site
        needs = [policy.needs_own_task for policy in policies]
        opening = opening_for(self._commits(), True if True in needs else None if None in needs else False)
        meter = self._meter()
        innermost = opening.generator if self.streaming else opening.function
        counted = opening.unwatched_generator if self.streaming else opening.unwatched

        def inner_of(index: int) -> Callable[[Site], Any]:
            if index == len(policies):
                return lambda site: self._observed(
                    innermost if meter is None else metered(counted, meter, site.endpoint), site
                )
            policy = policies[index]
            if self.streaming:
                policy.check_streaming(self.name)
            seen = self._seen_from(index) if policy.needs_signature else None
            return lambda site: policy.bind(inner_of(index + 1), replace(site, seen=seen))

        handler: Callable[..., Any] = inner_of(0)(here)
        for index, policy in enumerate(policies):
            if policy.injects_argument:
                for lower in policies[index + 1 :]:
                    lower.release(here)
        for observer in self.observers:
            handler = observer.call(self.call_site, handler)
        if policies:
            degrades = any(policy.answers_itself for policy in policies)
            handler = TimedLayers(handler, self.call_site, policies[0].registry, degrades=degrades).run
        return items_of(handler) if self.streaming else handler

    def _meter(self) -> Meter | None:
        """The meter of the function's runs; None while nobody counts."""
        meters: Meters | None = self.policies[0].registry.meters if self.policies else None
        if meters is None:
            return None
        here = self.site
        listeners = tuple(each for policy in self.policies if (each := policy.answer_listener(here)) is not None)
        return meters.meter(self.name, listeners)

    def _observed(self, innermost: Handler, site: Site) -> Handler:
        for observer in self.observers:
            innermost = observer.attempt(self.call_site, site.endpoint, innermost)
        return innermost

    def _commits(self) -> Commits | None:
        given = [policy.commits for policy in self.policies if policy.commits is not None]
        if any(each is not given[0] for each in given):
            raise ValueError(f"commits= is given twice for {self.name}; it holds for the whole stack, give it once")
        return given[0] if given else None

    def named_handler(self) -> Callable[..., Any]:
        """The handler for calls without a fast path, with the function's name on its coroutines."""
        layers = getattr(self._layers, "__self__", None)
        if isinstance(layers, TimedLayers):
            layers.handler = named(layers.handler, self.name)
        return self.handler

    def call_by_layers(self) -> Callable[..., Any]:
        """A function that runs the layers, called with the function's own arguments."""
        function, handler = self.called, self.named_handler()

        def call(*args: Any, **kwargs: Any) -> Any:
            return handler(function, None, args, kwargs)

        return call

    def fast_call(self, *, method: bool) -> Callable[..., Any] | None:
        """
        The fast path of the stack that has just been folded; None if there is none.

        Args:
            method: Whether it is called with the instance first.
        """
        registry, function, here = self.policies[0].registry, self.function, self.site
        # A callable that is not a function may do more on binding than passing the instance first.
        if self.streaming or self.observers or not LOCK_FREE or (method and type(function) is not FunctionType):
            return None
        path = FastPath(self.call_site, method=method)
        for policy in self.policies:
            if path.gates or policy.registry is not registry or not policy.add_to_fast_path(path, here):
                return None
        called, meter = self.called, self._meter()
        if meter is not None:
            injects = any(policy.injects_argument for policy in self.policies)
            called = metered_function(called, meter, int(method) if injects else None)
        call = path.build(called, self.called, self._layers, registry.clock, plain=self.plain)
        return self._run_to_end(named(call, self.name))

    def site_of(self, index: int) -> Site:
        """The call site of a policy, without regard to endpoints."""
        here = self.site
        return replace(here, seen=self._seen_from(index)) if self.policies[index].needs_signature else here

    def _seen_from(self, index: int) -> SeenSignature:
        """The signature for the layer above a policy: without arguments that this policy or a lower one passes."""
        return SeenSignature(self.function, sum(policy.injects_argument for policy in self.policies[index:]))

    @property
    def changes_signature(self) -> bool:
        """Whether arguments or result differ between the caller and the function."""
        return any(policy.changes_signature for policy in self.policies)

    def signature(self, of: Callable[..., Any], skip: int = 0) -> inspect.Signature:
        """The signature for the caller, which a policy may change, without `skip` leading parameters (self)."""
        injected = sum(policy.injects_argument for policy in self.policies)
        signature = inspect.signature(of)
        parameters = list(signature.parameters.values())
        shown, returned = parameters[skip + injected :], signature.return_annotation
        for policy in reversed(self.policies):
            shown, returned = policy.shown(shown, returned)
        return signature.replace(parameters=parameters[:skip] + shown, return_annotation=returned)
