"""The list of secrets in this process: keys of its endpoints and their clients, and of the environment."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple
from weakref import finalize

from .secret_holders import attributes_of, credentials_of, in_address, is_secret, others_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# But not PWD, which is a folder.
_NAMES_OF_SECRETS = re.compile(r"(?i)key|token|secret|passw|_pass\Z|_pwd\Z|authorization|cookie")
_NAMES_OF_ADDRESSES = re.compile(r"(?i)url|uri|dsn|proxy|endpoint|database")


class _Kept(NamedTuple):
    """The secrets of one owner. Its clients are read each time, because they may fetch a new key by themselves."""

    credentials: tuple[str, ...]
    others: tuple[str, ...]
    clients: tuple[object, ...]


_kept: dict[int, _Kept] = {}  # by id of the owner
# All names, of secrets and of addresses.
_environment: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] = ((), (), ())


def keep_secret(
    owner: object,
    *keys: str | None,
    clients: tuple[object, ...] = (),
    address: str | None = None,
    attributes: Mapping[str, object] | None = None,
) -> None:
    """
    Remove these values from every message from now on, as long as their owner exists.

    Args:
        owner: The owner of the secrets, such as an endpoint.
        keys: Keys and tokens. None, and values too short to be a key, are ignored.
        clients: The clients that send its requests; their keys, headers, cookies, query parameters and addresses are
            searched.
        address: A URL, which may contain a password or a key.
        attributes: Other attributes of the owner, such as headers, parameters or clients.
    """
    clients = tuple(client for client in clients if client is not None)
    found = [*keys, *(key for client in clients for key in credentials_of(client))]
    beside = [*in_address(address or ""), *attributes_of(attributes or {})]
    beside += [value for client in clients for value in others_of(client)]
    if id(owner) not in _kept:
        finalize(owner, _kept.pop, id(owner), None).atexit = False
    _kept[id(owner)] = _Kept(_secrets(found), _secrets(beside), clients)


def look_through(owner: object) -> None:
    """
    Keep the secrets in the attributes of an endpoint of the user's own class, unless it has registered them itself.
    """
    attributes = getattr(owner, "__dict__", None)
    if id(owner) not in _kept and isinstance(attributes, dict) and hasattr(owner, "__weakref__"):
        keep_secret(owner, attributes=attributes)


def _secrets(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value.strip() for value in values if value is not None and is_secret(value)))


def secrets_of(owner: object) -> tuple[str, ...]:
    """The keys that identify an owner's credential."""
    kept = _kept.get(id(owner))
    return () if kept is None else kept.credentials


def known_secrets() -> set[str]:
    """All secrets at present."""
    found = set(_of_environment())
    for kept in list(_kept.values()):  # a copy: another thread may make an endpoint meanwhile
        found.update(kept.credentials, kept.others)
        for client in kept.clients:
            found.update(_secrets(credentials_of(client)))
    return found


def _of_environment() -> Iterator[str]:
    global _environment
    if _environment[0] != (names := tuple(os.environ)):
        addresses = tuple(filter(_NAMES_OF_ADDRESSES.search, names))
        _environment = names, tuple(filter(_NAMES_OF_SECRETS.search, names)), addresses
    # The values are read each time, because a key may be replaced.
    for name in _environment[1]:
        yield from _secrets([os.environ.get(name)])
    for name in _environment[2]:
        if "://" in (value := os.environ.get(name, "")):
            yield from _secrets(in_address(value))
