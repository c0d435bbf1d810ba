"""The one list of what this process keeps secret: keys of its endpoints and their clients, and of the environment."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple
from weakref import finalize

from .secret_holders import attributes_of, credentials_of, in_address, is_secret, others_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_NAMES_OF_SECRETS = re.compile(r"(?i)key|token|secret|passw|_pass\Z|_pwd\Z|authorization|cookie")  # PWD is a folder
_NAMES_OF_ADDRESSES = re.compile(r"(?i)url|uri|dsn|proxy|endpoint|database")


class _Kept(NamedTuple):
    """What one owner keeps secret. Its clients are asked each time, because they may fetch a new key by themselves."""

    credentials: tuple[str, ...]
    others: tuple[str, ...]
    clients: tuple[object, ...]


_kept: dict[int, _Kept] = {}  # by the owner's id
# All names, those of secrets and those of addresses.
_environment: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] = ((), (), ())


def keep_secret(
    owner: object,
    *keys: str | None,
    clients: tuple[object, ...] = (),
    address: str | None = None,
    attributes: Mapping[str, object] | None = None,
) -> None:
    """
    Take these values out of every message from now on, for as long as their owner lives.

    Args:
        owner: Whose they are: an endpoint, say.
        keys: Keys and tokens. None, and what is too short to be a key, is passed over.
        clients: What sends its requests; their keys, headers, cookies, query parameters and addresses are looked
            through.
        address: A URL, which may hold a password or a key.
        attributes: What else the owner was given: headers, parameters, clients.
    """
    clients = tuple(client for client in clients if client is not None)
    found = [*keys, *(key for client in clients for key in credentials_of(client))]
    beside = [*in_address(address or ""), *attributes_of(attributes or {})]
    beside += [value for client in clients for value in others_of(client)]
    if id(owner) not in _kept:
        finalize(owner, _kept.pop, id(owner), None).atexit = False
    _kept[id(owner)] = _Kept(_secrets(found), _secrets(beside), clients)


def look_through(owner: object) -> None:
    """Keep secret what the attributes of an endpoint of the user's own class hold, unless it has said it itself."""
    attributes = getattr(owner, "__dict__", None)
    if id(owner) not in _kept and isinstance(attributes, dict) and hasattr(owner, "__weakref__"):
        keep_secret(owner, attributes=attributes)


def _secrets(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value.strip() for value in values if value is not None and is_secret(value)))


def secrets_of(owner: object) -> tuple[str, ...]:
    """The keys that tell an owner's credential from others."""
    kept = _kept.get(id(owner))
    return () if kept is None else kept.credentials


def known_secrets() -> set[str]:
    """All of them, as they are at this moment."""
    found = set(_of_environment())
    for kept in list(_kept.values()):  # at once: another thread may make an endpoint meanwhile
        found.update(kept.credentials, kept.others)
        for client in kept.clients:
            found.update(_secrets(credentials_of(client)))
    return found


def _of_environment() -> Iterator[str]:
    global _environment
    if _environment[0] != (names := tuple(os.environ)):
        addresses = tuple(filter(_NAMES_OF_ADDRESSES.search, names))
        _environment = names, tuple(filter(_NAMES_OF_SECRETS.search, names)), addresses
    # The values are read each time, as a key may be changed for a new one.
    for name in _environment[1]:
        yield from _secrets([os.environ.get(name)])
    for name in _environment[2]:
        if "://" in (value := os.environ.get(name, "")):
            yield from _secrets(in_address(value))
