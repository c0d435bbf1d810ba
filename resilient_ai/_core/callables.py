"""Properties of a function: async or plain, streaming or not, a method or not, its name and its signature."""

from __future__ import annotations

import functools
import inspect
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from .context_managers import gives_context_manager, refuse_context_manager
from .kinds import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable


def unwrapped(fn: Any) -> list[Any]:
    """The function itself and everything it wraps: through partials, methods, and decorators with `__wrapped__`."""
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


def without_parentheses(given: Any) -> bool:
    """
    Whether a decorator got the function itself as its first argument.

    A class method is not callable and is one all the same; a property is refused where its shape is looked at.
    """
    return callable(given) or hasattr(type(given), "__get__")


class Shape(NamedTuple):
    """How a function is called."""

    plain: bool  # it blocks its caller; otherwise it is awaited
    streaming: bool  # it yields its items


def shape_of(fn: Any, kind: str) -> Shape:
    """
    How a function is called.

    Args:
        fn: The decorated object.
        kind: The decorator, for the message.

    Raises:
        TypeError: It is not a function, method or callable object.
    """
    if inspect.isclass(fn):
        raise TypeError(f"@{kind} needs a function, got the class {fn.__qualname__}; decorate its methods")
    if isinstance(fn, functools.partialmethod | property | functools.cached_property):
        made = f"make the {type(fn).__name__} of that"
        raise TypeError(f"@{kind} needs a function, got {kind_of(fn)}; decorate the method, and {made}")
    plain_generator = False
    for layer in unwrapped(fn):
        call = layer if inspect.isroutine(layer) else getattr(type(layer), "__call__", None)  # noqa: B004 - the method itself is wanted
        if gives_context_manager(layer):
            refuse_context_manager(fn, kind)
        if inspect.iscoroutinefunction(layer) or inspect.iscoroutinefunction(call):
            return Shape(plain=False, streaming=False)
        # A method of an aiobotocore client is a plain function that returns the coroutine of this one.
        if inspect.iscoroutinefunction(getattr(getattr(layer, "__self__", None), "_make_api_call", None)):
            return Shape(plain=False, streaming=False)
        if inspect.isasyncgenfunction(layer) or inspect.isasyncgenfunction(call):
            return Shape(plain=False, streaming=True)
        plain_generator = plain_generator or inspect.isgeneratorfunction(layer) or inspect.isgeneratorfunction(call)
    if not callable(fn) and not isinstance(fn, classmethod | staticmethod):
        raise TypeError(f"@{kind} needs a function, got {kind_of(fn)}")
    return Shape(plain=True, streaming=plain_generator)


def needs_async(fn: Any, kind: str) -> TypeError:
    """The error for a plain function where an async one is needed."""
    named = inspect.isroutine(fn) and hasattr(fn, "__qualname__")
    shown = f"the plain function {fn.__qualname__}" if named else f"a plain {type(fn).__qualname__}"
    return TypeError(
        f"@{kind} needs an async function, got {shown};"
        " make it `async def`, and call blocking code with `await anyio.to_thread.run_sync(...)`"
    )


def signature_of(fn: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(fn.__func__ if isinstance(fn, classmethod | staticmethod) else fn)
    except (TypeError, ValueError):
        return None


class SeenSignature:
    """
    The signature of a function as one layer sees it, computed on demand, because it needs more memory than a state.

    Args:
        function: The function.
        injected: Number of arguments that this layer and those below add, which its caller does not pass.
    """

    __slots__ = ("_found", "_function", "_injected", "_looked")

    def __init__(self, function: Any, injected: int) -> None:
        self._function = function
        self._injected = injected
        self._found: inspect.Signature | None = None
        self._looked = False

    @property
    def found(self) -> inspect.Signature | None:
        """The signature; None when Python cannot tell."""
        if not self._looked:
            self._found, self._looked = self._look(), True
        return self._found

    def _look(self) -> inspect.Signature | None:
        signature = signature_of(self._function)
        if signature is None or not self._injected:
            return signature
        skip = int(takes_instance(self._function))
        parameters = list(signature.parameters.values())
        return signature.replace(parameters=parameters[:skip] + parameters[skip + self._injected :])


_INSTANCES = frozenset({"self", "cls", "klass", "mcs", "mcls", "metacls", "this", "_self", "_cls", "self_", "cls_"})


def takes_instance(fn: Any) -> bool:
    """
    Whether a function was written in a class body with an instance or a class as its first parameter.

    A static method is written there too; the name of the first parameter tells them apart.
    """
    if not inspect.isfunction(fn):
        return False
    code, parts = fn.__code__, fn.__qualname__.split(".")
    in_class = len(parts) > 1 and parts[-2] != "<locals>"
    return in_class and code.co_argcount > 0 and code.co_varnames[0] in _INSTANCES


class Place(NamedTuple):
    """Where a function was defined, and by which run of that code."""

    module: str
    qualname: str
    code: object  # compared by identity: code that was compiled again is equal, but is another run

    @classmethod
    def of(cls, fn: Any) -> Place:
        inner = unwrapped(fn)[-1]
        qualname = getattr(inner, "__qualname__", type(inner).__qualname__)
        return cls(getattr(inner, "__module__", ""), qualname, getattr(inner, "__code__", inner))

    def runs_again(self, earlier: Place) -> bool:
        """Whether the code of this place has been compiled again, because a cell or a module was run again."""
        return self[:2] == earlier[:2] and self.code is not earlier.code


def name_of(fn: Any) -> str:
    """The qualified name, for messages."""
    return next((name for each in unwrapped(fn) if (name := getattr(each, "__qualname__", ""))), type(fn).__qualname__)


_homes: dict[str, str] = {}  # qualified name → the module that used it first


def unique_name(fn: Any) -> str:
    """The qualified name, with the module in front if another module has a function of the same name."""
    named = next((layer for layer in unwrapped(fn) if getattr(layer, "__qualname__", None)), type(fn))
    name, module = str(named.__qualname__), str(getattr(named, "__module__", None) or "")
    return name if _homes.setdefault(name, module) == module else f"{module}.{name}"


def named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """
    A function with another qualified name, which Python also uses for its coroutines: in the warning that one was never
    awaited, and in the repr of a task. For a method it is a copy, because all instances share the method's function.
    """
    if inspect.ismethod(function):
        of_class = function.__func__
        own = FunctionType(of_class.__code__, of_class.__globals__, closure=of_class.__closure__)
        own.__qualname__ = name
        return MethodType(own, function.__self__)
    if inspect.isfunction(function):
        function.__qualname__ = name
    return function


def headline(fn: Any, name: str) -> str:
    """Name and signature as text, without defaults, because one of them may be a key."""
    name = getattr(fn, "__qualname__", None) or name  # a partial has no name of its own
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return name

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
