"""
One wrapper per decorated function, however many policies are stacked.

Putting a policy on a function that has some already adds it to the same wrapper and folds the whole stack
into one function again. Stacked wrapt wrappers would cost more with every layer; here a layer costs one await.
This is the only file that knows wrapt.
"""

from __future__ import annotations

import copy
import functools
import inspect
import sys
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from typing import Any, ParamSpec, Protocol, TypeVar, overload

import wrapt

from .backend import LOCK_FREE
from .errors import StackOrderWarning, mark_if_wrong_call
from .fast_path import Begun, GoodPath
from .policy import Policy, Site
from .public import public
from .stack_order import wrong_order

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")


class Decorator(Protocol):
    """A decorator that keeps the type of what it is put on."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, fn: Callable[P, AsyncGenerator[Y, None]], /) -> Callable[P, AsyncGenerator[Y, None]]: ...
    @overload
    def __call__(self, fn: Callable[P, AsyncIterator[Y]], /) -> Callable[P, AsyncIterator[Y]]: ...


class Stack:
    """A function and its policies, outermost first, folded into one handler."""

    __slots__ = ("function", "handler", "name", "policies", "site", "streaming")

    def __init__(self, function: Any, policies: tuple[Policy[Any], ...]) -> None:
        self.function = function
        self.policies = policies
        self.streaming = is_stream(function, policies[0].kind)
        self.name = _unique_name(function)
        self.site = Site(self.name)
        self.handler = self._fold()
        if inspect.isfunction(self.handler):
            # Python names a coroutine after it: where one was never awaited, and in the repr of a task.
            self.handler.__qualname__ = self.name

    def _fold(self) -> Any:
        policies, streaming = self.policies, self.streaming

        def below(index: int) -> Callable[[Site], Any]:
            if index == len(policies):
                return lambda _site: _call
            policy = policies[index]
            bind: Callable[..., Any] = policy.bind_stream if streaming else policy.bind
            signature = self._seen_from(index) if policy.signed else None
            return lambda site: bind(below(index + 1), replace(site, signature=signature))

        handler = below(0)(self.site)
        for index, policy in enumerate(policies):
            if policy.injected:
                for lower in policies[index + 1 :]:
                    lower.release(self.site)
        return handler

    def call(self) -> Callable[..., Any]:
        """What a call of the function runs; the good path of the stack, if it has one."""
        function, handler, registry = self.function, self.handler, self.policies[0].registry

        def call(*args: Any, **kwargs: Any) -> Any:
            return handler(function, None, args, kwargs)

        if self.streaming or is_method(function) or not LOCK_FREE:
            return call
        path = GoodPath()
        for policy in self.policies:
            if path.ended or policy.registry is not registry or not policy.join(path, self.site):
                return call
        called = path.of(function, handler, registry.clock.now)
        called.__qualname__ = self.name  # as above
        return called

    def _seen_from(self, index: int) -> inspect.Signature | None:
        """The signature as the layer above a policy calls it: without what that policy or a lower one hands in."""
        signature = _signature_of(self.function)
        injected = sum(policy.injected for policy in self.policies[index:])
        if signature is None or not injected:
            return signature
        skip = int(is_method(self.function))
        parameters = list(signature.parameters.values())
        return signature.replace(parameters=parameters[:skip] + parameters[skip + injected :])

    @property
    def injected(self) -> int:
        """How many leading arguments the caller does not pass."""
        return sum(policy.injected for policy in self.policies)

    def signature(self, of: Callable[..., Any], skip: int = 0) -> inspect.Signature:
        """Signature as the caller sees it, which a policy may change; `skip` parameters lead (self)."""
        signature = inspect.signature(of)
        parameters = list(signature.parameters.values())
        shown, returned = parameters[skip + self.injected :], signature.return_annotation
        for policy in reversed(self.policies):
            shown, returned = policy.shown(shown, returned)
        return signature.replace(parameters=parameters[:skip] + shown, return_annotation=returned)


def _call(
    fn: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any], begun: Begun | None = None
) -> Any:
    if begun is not None and begun.error is not None:
        begun.fail()
    try:
        # An empty dict would be copied, which takes a quarter of a bare await.
        return fn(*args, **kwargs) if kwargs else fn(*args)
    except TypeError as error:
        mark_if_wrong_call(error)
        raise


class ResilientMethod(wrapt.BoundFunctionWrapper):  # type: ignore[type-arg]
    """A decorated function bound to an instance or a class."""

    @property
    def __signature__(self) -> inspect.Signature:
        stack: Stack = self._self_parent._self_stack
        # Looked up on the class itself, a method still shows its `self` before what a failover hands in.
        skip = int(self._self_binding == "function" and self._self_instance is None)
        return stack.signature(self.__wrapped__, skip)

    @property
    def __func__(self) -> ResilientFunction:
        # inspect takes the signature of a method from here. What is bound to nothing raises AttributeError.
        wrapped: Any = self.__wrapped__
        wrapped.__func__  # noqa: B018
        parent: ResilientFunction = self._self_parent
        return parent

    def __repr__(self) -> str:
        return repr(self._self_parent)

    __str__ = __repr__

    # Copied and pickled like any bound method: the instance, and a name to find on it.
    def __copy__(self) -> ResilientMethod:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return getattr(copy.deepcopy(self.__self__, memo), self.__name__)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return getattr, (self.__self__, self.__name__)


class ResilientFunction(wrapt.FunctionWrapper):  # type: ignore[type-arg]
    """The one wrapper; `_self_` attributes live on it and not on the function."""

    __bound_function_wrapper__ = ResilientMethod
    # `__call__` is a slot: each wrapper holds the function that calling it runs, and Python finds it there without a
    # method of ours in between and past wrapt's look-up of an instance, which only bound calls need. A call through one
    # policy takes 4.6 bare awaits so, 5.7 with a method and 9 as wrapt does it.
    __slots__ = ("__call__", "_self_stack")

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack.function, stack.handler)
        self._self_stack = stack
        call = stack.call()
        if sys.version_info >= (3, 13) and is_method(stack.function):
            call = _class_caller(stack, call)
        _set_call(self, call)

    @property
    def __signature__(self) -> inspect.Signature:
        function = self._self_stack.function
        if isinstance(function, classmethod):
            return self._self_stack.signature(function.__func__, 1)
        return self._self_stack.signature(self.__wrapped__, int(is_method(function)))

    def __repr__(self) -> str:
        lines = [f"{policy.kind} {policy.status()}".rstrip() for policy in self._self_stack.policies]
        return f"<{_headline(self)}\n  " + "\n  ".join(lines) + ">"

    __str__ = __repr__

    # A function is copied and pickled as the name under which it can be found; so is this.
    def __copy__(self) -> ResilientFunction:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ResilientFunction:
        return self

    def __reduce_ex__(self, protocol: Any) -> str:
        return str(self.__qualname__)


# Set on the wrapper itself: wrapt passes ordinary assignments on to the function.
_set_call = ResilientFunction.__dict__["__call__"].__set__


def _class_caller(stack: Stack, call: Callable[..., Any]) -> Callable[..., Any]:
    """
    `call`, but bound to the class where it is a class method's.

    Since Python 3.13 `@classmethod` above a decorator no longer binds what it finds there; it passes the class as the
    first argument, and a failover would put its endpoint in front of that.
    """

    def called(*args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], type) and _has_class_method(args[0], stack):
            return stack.handler(functools.partial(stack.function, args[0]), args[0], args[1:], kwargs)
        return call(*args, **kwargs)

    return called


def _has_class_method(cls: type, stack: Stack) -> bool:
    for each in cls.__mro__:
        found = vars(each).get(stack.function.__name__)
        if isinstance(found, classmethod):
            wrapper: Any = found.__func__
            return type(wrapper) is ResilientFunction and wrapper._self_stack is stack
    return False


def decorate(fn: Any, policy: Policy[Any]) -> Any:
    """
    Put a policy on a function, or on top of the policies it has.

    Raises:
        TypeError: `fn` is not an async function, method or callable.
    """
    stack: Stack | None = fn._self_stack if type(fn) is ResilientFunction else None
    function = stack.function if stack is not None else fn
    above = stack.policies if stack is not None else ()
    wrapper = ResilientFunction(Stack(function, (policy, *above)))
    reason = wrong_order(policy, above, wrapper._self_stack.site)
    if reason is not None:
        warn(f"{wrapper._self_stack.name}: {reason}", StackOrderWarning)
    return wrapper


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line outside this package that caused it."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "resilient_ai":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


# -- what a function is


def _layers(fn: Any) -> list[Any]:
    """The function itself, and what it stands for: partials, methods and well-behaved decorators opened."""
    found: list[Any] = []
    while fn is not None and len(found) < 50:
        found.append(fn)
        if isinstance(fn, classmethod | staticmethod) or inspect.ismethod(fn):
            fn = fn.__func__
        elif isinstance(fn, functools.partial):
            fn = fn.func
        else:
            fn = getattr(fn, "__wrapped__", None)
    return found


def is_stream(fn: Any, kind: str) -> bool:
    if inspect.isclass(fn):
        raise TypeError(f"@{kind} needs an async function, got the class {fn.__qualname__}; decorate its methods")
    for layer in _layers(fn):
        call = layer if inspect.isroutine(layer) else getattr(type(layer), "__call__", None)  # noqa: B004 - the method itself is wanted
        if inspect.iscoroutinefunction(layer) or inspect.iscoroutinefunction(call):
            return False
        # A method of an aiobotocore client is a plain function that hands out this one's coroutine.
        if inspect.iscoroutinefunction(getattr(getattr(layer, "__self__", None), "_make_api_call", None)):
            return False
        if inspect.isasyncgenfunction(layer) or inspect.isasyncgenfunction(call):
            return True
    shown = f"the plain function {fn.__qualname__}" if inspect.isroutine(fn) else f"a {type(fn).__qualname__}"
    raise TypeError(
        f"@{kind} needs an async function, got {shown};"
        " make it `async def`, and call blocking code with `await anyio.to_thread.run_sync(...)`"
    )


def _signature_of(fn: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(fn.__func__ if isinstance(fn, classmethod | staticmethod) else fn)
    except (TypeError, ValueError):
        return None


def is_method(fn: Any) -> bool:
    """Whether a function was written in a class body, so that its first parameter is `self`."""
    parts = getattr(fn, "__qualname__", "").split(".")
    return inspect.isfunction(fn) and len(parts) > 1 and parts[-2] != "<locals>"


_homes: dict[str, str] = {}  # qualified name → the module that used it first


def _unique_name(fn: Any) -> str:
    """The qualified name; with the module in front if another module has one of the same name."""
    named = next((layer for layer in _layers(fn) if getattr(layer, "__qualname__", None)), type(fn))
    name, module = str(named.__qualname__), str(getattr(named, "__module__", None) or "")
    return name if _homes.setdefault(name, module) == module else f"{module}.{name}"


# -- for people


@public("types")
@dataclass(frozen=True, slots=True)
class Layer:
    """One policy of a stack, as `describe` shows it."""

    kind: str
    settings: dict[str, Any]
    status: str


@public("types")
@dataclass(frozen=True, slots=True, repr=False)
class Description:
    """The stack of a decorated function, outermost first."""

    function: str
    layers: tuple[Layer, ...]

    def __repr__(self) -> str:
        lines = [self.function]
        for layer in self.layers:
            lines.append(f"  {layer.kind} {layer.status}".rstrip())
            settings = ", ".join(f"{name}={_brief(value)}" for name, value in layer.settings.items())
            if settings:
                lines.append(f"      {settings}")
        return "\n".join(lines)


@public()
def describe(fn: Callable[..., Any]) -> Description:
    """
    The stack of a decorated function: kinds, settings and live state, outermost first.

    Args:
        fn: A decorated function or method.

    Raises:
        TypeError: `fn` carries none of our decorators.
    """
    wrapper: Any = fn if type(fn) is ResilientFunction else getattr(fn, "_self_parent", fn)
    if type(wrapper) is not ResilientFunction:
        raise TypeError(f"{getattr(fn, '__qualname__', type(fn).__qualname__)} has none of our decorators on it")
    return Description(
        _headline(wrapper),
        tuple(Layer(policy.kind, _settings(policy.config), policy.status()) for policy in wrapper._self_stack.policies),
    )


def _settings(config: Any) -> dict[str, Any]:
    if not is_dataclass(config):
        return {}
    values = {field.name: getattr(config, field.name) for field in fields(config) if field.repr}
    return {name: value for name, value in values.items() if value is not None}


def _brief(value: Any) -> str:
    text = _plain(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _plain(value: Any) -> str:
    if inspect.isroutine(value) or inspect.isclass(value):
        return str(value.__qualname__)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_plain, value))})"
    return repr(value)


def _headline(fn: Any) -> str:
    """Name and signature; defaults are left out, because one of them may be a key."""
    # A partial or a callable has no name of its own; the stack has found one.
    name = getattr(fn, "__qualname__", None) or fn._self_stack.name
    try:
        signature = fn.__signature__
    except (TypeError, ValueError):
        return str(name)

    def bare(annotation: Any) -> Any:
        return _Bare(annotation) if isinstance(annotation, str) else annotation

    shown = [
        each.replace(annotation=bare(each.annotation), default=each.empty if each.default is each.empty else _Bare("…"))
        for each in signature.parameters.values()
    ]
    return f"{name}{signature.replace(parameters=shown, return_annotation=bare(signature.return_annotation))}"


class _Bare(str):
    """Text that a signature shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
