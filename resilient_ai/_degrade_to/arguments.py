"""The arguments of one call by name, for the rungs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import inspect


def arguments_by_name(
    signature: inspect.Signature | None, bound: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """
    All arguments of a call, with defaults filled in.

    Arguments in `*args` go by their number, and those in `**kwargs` by their name.

    Args:
        signature: Signature of the function as written; None when Python cannot tell.
        bound: Whether the first parameter, `self`, is already bound.
        args: Positional arguments, without `self`.
        kwargs: Keyword arguments.
    """
    if signature is not None:
        parameters = list(signature.parameters.values())[int(bound) :]
        try:
            given = signature.replace(parameters=parameters).bind(*args, **kwargs)
        except (TypeError, ValueError):  # `def method(*args)`, or a call with wrong arguments
            given = None
        if given is not None:
            given.apply_defaults()
            return _flat(parameters, given.arguments)
    return {**{str(number): value for number, value in enumerate(args)}, **kwargs}


def _flat(parameters: list[inspect.Parameter], arguments: dict[str, Any]) -> dict[str, Any]:
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
