"""The arguments of one call by name, as a rung sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import inspect


def arguments_by_name(
    signature: inspect.Signature | None, bound: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """
    All arguments of a call, defaults filled in.

    What `*args` took goes by its number and what `**kwargs` took by its name.

    Args:
        signature: Of the function as written; None when Python cannot tell.
        bound: Whether its first parameter, `self`, is given already.
        args: Positional arguments, without `self`.
        kwargs: Keyword arguments.
    """
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
