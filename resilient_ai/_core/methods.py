"""Decorated functions bound to an instance or a class."""

from __future__ import annotations

import copy
from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_new = object.__new__


class ResilientMethod:
    # A decorated function bound to an instance or a class: like a bound method, except for its repr and its speed. It
    # has no docstring, because that would hide the function's.

    __slots__ = ("__call__", "__func__", "__weakref__")  # `__call__` is a slot as in `ResilientFunction`

    if TYPE_CHECKING:  # annotations of the class would hide those of the function at run time
        __call__: MethodType
        __func__: Any  # the `ResilientFunction`

    def __init__(self, function: Any, instance: Any) -> None:
        # Called by `weakref.WeakMethod`; the wrapper makes methods without it, in half the time.
        owner = instance if isinstance(instance, type) else type(instance)
        self.__func__, self.__call__ = function, function.__get__(instance, owner).__call__

    @property
    def __self__(self) -> Any:
        return self.__call__.__self__

    # `inspect.ismethod` checks the class.
    __class__ = property(lambda _self: MethodType)  # pyright: ignore[reportIncompatibleMethodOverride]
    __doc__ = property(lambda self: self.__func__.__doc__)  # pyright: ignore[reportAssignmentType]
    __module__ = property(lambda self: self.__func__.__module__)  # pyright: ignore[reportAssignmentType]
    __annotations__ = property(lambda self: self.__func__.__annotations__)  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]

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

    # Copied and pickled like any bound method: the instance, and the name of an attribute.
    def __copy__(self) -> ResilientMethod:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return getattr(copy.deepcopy(self.__self__, memo), self.__name__)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return getattr, (self.__self__, self.__name__)


class ClassMethod(classmethod):  # type: ignore[type-arg]
    """A class method of a decorated function, to which the class comes as an instance does, as before Python 3.13."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        cls = type(instance) if owner is None else owner
        return self.__func__.__get__(cls, type(cls))


class MethodCall:
    """The function that all bound methods of one function run, including kept ones; it can be replaced."""

    # A slot, as in `ResilientFunction`: a function that looks up the call would cost three more bare awaits.
    __slots__ = ("__call__",)

    __call__: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        self.__call__ = call


def bound_method(func: Any, instance: Any, call: Callable[..., Any]) -> ResilientMethod:
    """Return a function bound to an instance, whose calls run `call`."""
    method = _new(ResilientMethod)
    method.__func__ = func
    method.__call__ = MethodType(call, instance)
    return method
