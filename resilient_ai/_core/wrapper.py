"""
One wrapper per decorated function, however many policies are stacked.

Putting a policy on a function that has some already adds it to the same wrapper and folds the whole stack
into one function again. Stacked wrapt wrappers would cost more with every layer; here a layer costs one await.
This is the only file that knows wrapt.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from types import MethodType
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

import wrapt

from .callables import headline, is_method
from .errors import StackOrderWarning
from .stack import Stack
from .stack_order import wrong_order
from .user_warnings import warn

if TYPE_CHECKING:
    from .policy import Policy

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


class ResilientFunction(wrapt.FunctionWrapper):  # type: ignore[type-arg]
    """
    The one wrapper; `_self_` attributes live on it and not on the function.

    Args:
        stack: What it runs; it has just been folded, unless `call` is given.
        call: What a call runs. Default: found in the stack.
    """

    # `__call__` is a slot: each wrapper holds the function that calling it runs, and Python finds it there without a
    # method of ours in between and past wrapt's look-up of an instance. A call through one policy takes 4.6 bare
    # awaits so, 5.7 with a method and 9 as wrapt does it.
    __slots__ = ("__call__", "_self_method_call", "_self_stack")

    def __init__(self, stack: Stack, call: Callable[..., Any] | None = None) -> None:
        super().__init__(stack.function, stack.handler)
        function = stack.function
        self._self_stack = stack
        # Called with the instance first; made where the function is a method, or is found on a class later.
        self._self_method_call: Callable[..., Any] | None = None
        if call is None and isinstance(function, classmethod):
            call = _method_call(stack)
        elif call is None and is_method(function):
            self._self_method_call = _method_call(stack)
            call = stack.call_by_layers()
            if sys.version_info >= (3, 13):
                call = _call_of_classmethod_or(call, stack, self._self_method_call)
        elif call is None:
            call = stack.fast_call(method=False) or stack.call_by_layers()
        _set_call(self, call)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        # In place of wrapt's, whose bound wrapper takes 8 bare awaits to make; this takes 3.
        if instance is None or (call := _method_call_of(self)) is None:
            return self._self_bind(instance, owner)
        method = ResilientMethod()
        method.__func__ = self
        method.__call__ = MethodType(call, instance)
        return method

    def _self_bind(self, instance: Any, owner: type | None) -> Any:
        stack: Stack = self._self_stack
        function = stack.function
        if isinstance(function, staticmethod) or not hasattr(type(function), "__get__"):
            return self
        if isinstance(function, classmethod):
            return _bound(self, owner if owner is not None else type(instance), self.__call__)
        if inspect.isfunction(function):
            if self._self_method_call is None:  # defined outside the class
                self._self_method_call = _method_call(Stack(function, stack.policies))
            call = self._self_method_call
        elif function.__get__(instance, owner) is function:  # bound to something else before
            return self
        else:
            call = _call_of_descriptor(stack.handler, function)
        return ResilientFunction(stack, call) if instance is None else _bound(self, instance, call)

    @property
    def __signature__(self) -> inspect.Signature:
        function = self._self_stack.function
        if isinstance(function, classmethod):
            return self._self_stack.signature(function.__func__, 1)
        return self._self_stack.signature(self.__wrapped__, int(is_method(function)))

    def __repr__(self) -> str:
        stack: Stack = self._self_stack
        lines = [f"{policy.kind} {policy.status()}".rstrip() for policy in stack.policies]
        return f"<{headline(self, stack.name)}\n  " + "\n  ".join(lines) + ">"

    __str__ = __repr__

    # A function is copied and pickled as the name under which it can be found; so is this.
    def __copy__(self) -> ResilientFunction:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ResilientFunction:
        return self

    def __reduce_ex__(self, protocol: Any) -> str:
        return str(self.__qualname__)


# Set on the wrapper itself: wrapt passes ordinary assignments on to the function. Read past wrapt, in half the time.
_set_call = ResilientFunction.__dict__["__call__"].__set__
_method_call_of = ResilientFunction.__dict__["_self_method_call"].__get__


class ResilientMethod:
    # A decorated function bound to an instance or a class: a bound method but for its repr and its speed. It has no
    # docstring, because its own would hide the function's.

    __slots__ = ("__call__", "__func__", "__weakref__")  # `__call__` is one as in `ResilientFunction`

    __call__: MethodType
    __func__: ResilientFunction

    @property
    def __self__(self) -> Any:
        return self.__call__.__self__

    # `inspect.ismethod` asks for the class so.
    __class__ = property(lambda _self: MethodType)  # pyright: ignore[reportIncompatibleMethodOverride]
    __doc__ = property(lambda self: self.__func__.__doc__)  # pyright: ignore[reportAssignmentType]
    __module__ = property(lambda self: self.__func__.__module__)  # pyright: ignore[reportAssignmentType]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__func__, name)

    def __eq__(self, other: object) -> bool:
        if type(other) is not ResilientMethod:
            return NotImplemented
        return self.__self__ is other.__self__ and self.__func__ is other.__func__

    def __hash__(self) -> int:
        return hash((id(self.__self__), id(self.__func__)))

    def __repr__(self) -> str:
        return repr(self.__func__)

    # Copied and pickled like any bound method: the instance, and a name to find on it.
    def __copy__(self) -> ResilientMethod:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return getattr(copy.deepcopy(self.__self__, memo), self.__name__)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return getattr, (self.__self__, self.__name__)


def _bound(func: ResilientFunction, instance: Any, call: Callable[..., Any]) -> ResilientMethod:
    method = ResilientMethod()
    method.__func__ = func
    method.__call__ = MethodType(call, instance)
    return method


def _method_call(stack: Stack) -> Callable[..., Any]:
    """Runs a stack that has just been folded; called with the instance first."""
    fast = stack.fast_call(method=True)
    if fast is not None:
        return fast
    function, handler = stack.function, stack.handler
    function = function.__func__ if isinstance(function, classmethod) else function

    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return handler(MethodType(function, self), self, args, kwargs)

    return call


def _call_of_descriptor(handler: Callable[..., Any], function: Any) -> Callable[..., Any]:
    """The same for somebody else's descriptor, which may do more when it is bound than to pass the instance."""

    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return handler(function.__get__(self, type(self)), self, args, kwargs)

    return call


def _call_of_classmethod_or(
    call: Callable[..., Any], stack: Stack, method_call: Callable[..., Any]
) -> Callable[..., Any]:
    """
    `call`, but `method_call` where it is a class method's.

    Since Python 3.13 `@classmethod` above a decorator no longer binds what it finds there; it passes the class as the
    first argument, and a policy that hands in an endpoint would put that in front of it.
    """

    def called(*args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], type) and _has_class_method(args[0], stack):
            return method_call(*args, **kwargs)
        return call(*args, **kwargs)

    return called


def _has_class_method(cls: type, stack: Stack) -> bool:
    for each in cls.__mro__:
        found = vars(each).get(stack.function.__name__)
        if isinstance(found, classmethod):
            wrapper: Any = found.__func__
            return type(wrapper) is ResilientFunction and wrapper._self_stack is stack
    return False


def wrapper_of(fn: Any) -> ResilientFunction | None:
    """The wrapper of a decorated function or method; None where there is none."""
    wrapper: ResilientFunction | None = fn.__func__ if type(fn) is ResilientMethod else fn
    return wrapper if type(wrapper) is ResilientFunction else None


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
