"""
One wrapper per decorated function, for any number of policies.

Putting a policy on a decorated function adds it to the same wrapper and folds the whole stack into one function again.
Stacked wrapt wrappers would cost more with every layer; here a layer costs one await.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine, Iterator
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

import wrapt

from .callables import headline, takes_instance, unwrapped
from .cloudpickles import is_cloudpickle, is_found_by_name
from .coroutine_type import CoroutineOf
from .errors import StackOrderWarning
from .live_list import LiveList
from .methods import ClassMethod, MethodCall, ResilientMethod, bound_method
from .modes import follow_modes, is_normal, is_off, observers_of, policies_now
from .printable import printable
from .stack import Stack
from .stack_order import wrong_order
from .user_warnings import warn

if TYPE_CHECKING:
    from .policy import Policy

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")


class Decorator(Protocol):
    """A decorator that keeps the type of its function, which returns a coroutine, an iterator or an answer."""

    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]: ...


class AsyncDecorator(Protocol):
    """The same for async functions and async generator functions only."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, CoroutineOf[Any, Any, R]]: ...
    @overload
    def __call__(self, fn: Callable[P, AsyncGenerator[Y, None]], /) -> Callable[P, AsyncGenerator[Y, None]]: ...
    @overload
    def __call__(self, fn: Callable[P, AsyncIterator[Y]], /) -> Callable[P, AsyncIterator[Y]]: ...


class ResilientFunction(wrapt.FunctionWrapper):  # type: ignore[type-arg]
    """
    The wrapper of a decorated function; `_self_` attributes belong to the wrapper, not to the function.

    Args:
        stack: The stack that it runs; it has just been folded, unless `call` is given.
        call: The function that a call runs. Default: from the stack.
    """

    # `__call__` is a slot: each wrapper holds the function that a call runs. Python finds it there without a method of
    # ours in between, and without wrapt's look-up of an instance. A call through one policy costs 4.6 bare awaits this
    # way, 5.7 with a method, and 9 with wrapt's own.
    __slots__ = (
        "__call__",
        "_self_current",
        "_self_home",
        "_self_method_call",
        "_self_normal_call",
        "_self_pending",
    )

    def __init__(self, stack: Stack, call: Callable[..., Any] | None = None) -> None:
        super().__init__(stack.function, stack.handler)
        # The stack that it runs now, and the normal one. After a change, the next call makes the new one.
        self._self_current = self._self_home = stack
        self._self_pending: Callable[[], None] | None = None
        self._self_normal_call: tuple[Callable[..., Any], Callable[..., Any] | None] | None = None
        # Made if the function is a method, or when it is later found on a class.
        self._self_method_call: MethodCall | None = None
        if call is None and takes_instance(stack.function):
            # Also for calls of the unbound function: class methods of Python 3.13, and other decorators above, pass the
            # instance first.
            call = _method_call(stack)
            self._self_method_call = MethodCall(call)
        elif call is None:
            call = _plain_call(stack)
        _set_call(self, call)

    @property
    def _self_stack(self) -> Stack:
        """The stack that it runs."""
        if (make := self._self_pending) is not None:
            make()
        return self._self_current

    def _self_run(self, build: Callable[[], Stack], make: Callable[[Stack, bool], Callable[..., Any]]) -> None:
        """
        Run another stack from now on, which the first call makes.

        Args:
            build: Makes the stack.
            make: Makes the function that a call runs, from the stack and whether the instance comes first.
        """
        bound = self._self_method_call
        if self._self_normal_call is None:
            self._self_normal_call = _call_of(self), None if bound is None else bound.__call__
        first = takes_instance(self._self_home.function)

        def settle() -> None:
            stack = build()
            plain = make(stack, first)
            method = None if bound is None else plain if first else make(build(), True)
            with _wrappers.lock:
                if self._self_pending is not settle:  # another thread has made it, or there was another change
                    return
                self._self_pending, self._self_current = None, stack
                _set_call(self, plain)
                if bound is not None and method is not None:
                    bound.__call__ = method

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._self_pending is settle:
                settle()
            return _call_of(self)(*args, **kwargs)

        def method_call(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
            if self._self_pending is settle:
                settle()
            return bound(instance, *args, **kwargs)  # type: ignore[misc]  # only called where there is one

        self._self_pending = settle
        _set_call(self, call)
        if bound is not None:
            bound.__call__ = method_call

    def _self_run_normally(self) -> None:
        if self._self_normal_call is None:
            return
        call, method_call = self._self_normal_call
        self._self_current, self._self_pending, self._self_normal_call = self._self_home, None, None
        _set_call(self, call)
        if (bound := self._self_method_call) is not None:
            if method_call is None:  # it was bound for the first time meanwhile
                method_call = _method_call(Stack(self._self_home.function, self._self_home.policies))
            bound.__call__ = method_call

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        # In place of wrapt's method, whose bound wrapper costs 8 bare awaits to make; this costs 3.
        if instance is None or (call := _method_call_of(self)) is None:
            return self._self_bind(instance, owner)
        method = _new(ResilientMethod)
        method.__func__ = self
        method.__call__ = MethodType(call, instance)
        return method

    def _self_bind(self, instance: Any, owner: type | None) -> Any:
        stack = self._self_stack
        function = stack.function
        if not hasattr(type(function), "__get__"):
            return self
        if type(function) is FunctionType:
            if self._self_method_call is None:  # the function was defined outside the class
                self._self_method_call = MethodCall(_method_call(Stack(function, stack.policies)))
            call: Any = self._self_method_call
        elif function.__get__(instance, owner) is function:  # it was already bound to another object
            return self
        else:
            call = _call_of_descriptor(stack)
        if instance is not None:
            return bound_method(self, instance, call)
        unbound = ResilientFunction(stack, call)
        unbound._self_method_call = call
        return unbound

    @property
    def __signature__(self) -> inspect.Signature:
        if not self._self_home.changes_signature:  # then `inspect` uses the function itself, and can evaluate strings
            raise AttributeError("__signature__")
        return self._self_home.signature(self.__wrapped__, int(self._self_method_call is not None))

    # `typing.get_type_hints` reads these two, which must agree with the signature.
    @property
    def __annotations__(self) -> dict[str, Any]:
        try:
            signature = self.__signature__
        except (AttributeError, TypeError, ValueError):
            return getattr(self.__wrapped__, "__annotations__", {})
        shown = {each.name: each.annotation for each in signature.parameters.values()}
        shown["return"] = signature.return_annotation
        return {name: annotation for name, annotation in shown.items() if annotation is not signature.empty}

    @__annotations__.setter
    def __annotations__(self, annotations: dict[str, Any]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.__wrapped__.__annotations__ = annotations

    @property
    def __globals__(self) -> dict[str, Any]:
        return getattr(unwrapped(self._self_home.function)[-1], "__globals__", {})

    def __repr__(self) -> str:
        stack: Stack = self._self_stack
        lines = [printable(f"{policy.kind} {policy.status()}".rstrip()) for policy in stack.policies]
        return f"<{headline(self, stack.name)}\n  " + "\n  ".join(lines) + ">"

    __str__ = __repr__

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        """Show the repr in IPython, which would otherwise show only the name, as for a function."""
        return {"text/plain": repr(self)}

    # Like a function, it is copied and pickled by the name under which it can be found.
    def __copy__(self) -> ResilientFunction:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ResilientFunction:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        caller = sys._getframe(1).f_globals
        if not is_cloudpickle(caller) or is_found_by_name(self, caller):
            return str(self.__qualname__)
        return _arrived, (self._self_home.function, self._self_home.policies)

    # cloudpickle sends a function by its code, which would be the code of the bare function. So for cloudpickle only,
    # this is not a function, and it calls `__reduce__`.
    @property  # type: ignore[misc]  # nobody sets it
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if is_cloudpickle(sys._getframe(1).f_globals):
            return ResilientFunction
        return self.__wrapped__.__class__


_new = object.__new__


def _arrived(function: Any, policies: tuple[Policy[Any], ...]) -> ResilientFunction:
    """A decorated function from a pickle."""
    return _settled(ResilientFunction(Stack(function, policies)))


# Set on the wrapper itself, because wrapt passes ordinary assignments on to the function. Reading without wrapt takes
# half the time.
_set_call = ResilientFunction.__dict__["__call__"].__set__
_call_of = ResilientFunction.__dict__["__call__"].__get__
_method_call_of = ResilientFunction.__dict__["_self_method_call"].__get__


def _plain_call(stack: Stack) -> Callable[..., Any]:
    """A function that runs a stack that has just been folded, called with the function's own arguments."""
    return stack.fast_call(method=False) or stack.call_by_layers()


def _method_call(stack: Stack) -> Callable[..., Any]:
    """A function that runs a stack that has just been folded, called with the instance first."""
    fast = stack.fast_call(method=True)
    if fast is not None:
        return fast
    if type(stack.function) is not FunctionType:
        return _call_of_descriptor(stack)
    function, handler = stack.called, stack.named_handler()

    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return handler(MethodType(function, self), self, args, kwargs)

    return call


def _call_of_descriptor(stack: Stack) -> Callable[..., Any]:
    """The same for a descriptor of another library, which may do more on binding than passing the instance."""
    function, handler, lifted = stack.function, stack.named_handler(), stack.lifted

    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return handler(lifted(function.__get__(self, type(self))), self, args, kwargs)

    return call


def wrapper_of(fn: Any) -> ResilientFunction | None:
    """The wrapper of a decorated function or method; None if there is none."""
    # Since Python 3.13 a class method is an ordinary bound method.
    wrapper: ResilientFunction | None = fn.__func__ if type(fn) in (ResilientMethod, MethodType) else fn
    return wrapper if type(wrapper) is ResilientFunction else None


def decorate(fn: Any, policy: Policy[Any]) -> Any:
    """
    Put a policy on a function, or on top of the policies that it already has.

    Raises:
        TypeError: `fn` is not a function, method or callable, or it is plain and the policy needs an async one.
    """
    if isinstance(fn, classmethod | staticmethod):
        kind = ClassMethod if type(fn) is classmethod else type(fn)
        return kind(decorate(fn.__func__, policy))
    stack: Stack | None = fn._self_home if type(fn) is ResilientFunction else None
    function = stack.function if stack is not None else fn
    above = stack.policies if stack is not None else ()
    wrapper = ResilientFunction(Stack(function, (policy, *above)))
    if stack is not None:
        before = stack.policies[0]
        before.registry.count_outermost(before.kind, stack.call_site, -1)
    reason = wrong_order(policy, above, wrapper._self_home.site)
    if reason is not None:
        warn(f"{wrapper._self_home.name}: {reason}", StackOrderWarning)
    return _settled(wrapper)


# -- other modes

_wrappers: LiveList[ResilientFunction] = LiveList()


def _settled(wrapper: ResilientFunction) -> ResilientFunction:
    """The same wrapper, which follows the modes of its registries from now on."""
    _wrappers.add(wrapper)
    outermost = wrapper._self_home.policies[0]
    outermost.registry.count_outermost(outermost.kind, wrapper._self_home.call_site, 1)
    _settle(wrapper)
    return wrapper


def _settle(wrapper: ResilientFunction) -> None:
    """Let a function run according to the modes and the settings of its registries."""
    home = wrapper._self_home
    with _wrappers.lock:  # the last caller has seen the latest change
        observers = tuple(each for each in observers_of(home.policies) if each.wants(home))
        if is_normal(home.policies, home.name) and not observers:
            wrapper._self_run_normally()
        elif is_off(home.policies):
            wrapper._self_run(lambda: home, _run_bare)
        else:
            wrapper._self_run(lambda: _stack_now(home, observers), _run)


def _stack_now(home: Stack, observers: tuple[Any, ...]) -> Stack:
    # Copies with the same states, because several threads may make the first call, and each folds its own stack.
    policies = tuple(map(copy.copy, policies_now(home.policies, home.name)))
    return Stack(home.function, policies, home.name, observers)


def _run(stack: Stack, method: bool) -> Callable[..., Any]:
    if not stack.policies:
        return stack.function  # type: ignore[no-any-return]
    return _method_call(stack) if method else _plain_call(stack)


def _run_bare(stack: Stack, method: bool) -> Callable[..., Any]:
    """The bare function; policies that change the arguments do only that."""
    call: Callable[..., Any] = stack.function
    for index in reversed(range(len(stack.policies))):
        above = sum(policy.injects_argument for policy in stack.policies[:index])
        call = stack.policies[index].switched_off(call, stack.site_of(index), int(method) + above)
    return call


class _Functions:
    """All decorated functions."""

    def settle(self, sites: Collection[tuple[str, str]] | None) -> None:
        """
        Let the functions run according to their registries.

        Args:
            sites: Only functions with a policy of one of these kinds and names; None: all.
        """
        for wrapper in _wrappers:
            home = wrapper._self_home
            if sites is None or any((policy.kind, policy.name or home.name) in sites for policy in home.policies):
                _settle(wrapper)

    def policies(self) -> Iterator[tuple[Policy[Any], str]]:
        """Every policy, and the name of its function."""
        for wrapper in _wrappers:
            home = wrapper._self_home
            for policy in home.policies:
                yield policy, home.name


follow_modes(_Functions())
