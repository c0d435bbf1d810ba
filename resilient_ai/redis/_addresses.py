"""Which server a url names, and how to show it without its password."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
_SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", *_SENTINEL_SCHEMES)
_SENTINEL_PORT = 26379
_OF_SENTINELS = {"sentinel_username": "username", "sentinel_password": "password"}


def check_url(url: object) -> None:
    """Raise `ValueError` for a url that cannot be used; the message shows only its scheme."""
    scheme = _scheme_of(url)
    if not isinstance(url, str) or scheme not in _SCHEMES:
        known = ", ".join(f"{each}://" for each in _SCHEMES)
        raise ValueError(f"url of a RedisStore must begin with one of {known}; got {scheme!r}")
    if scheme in _SENTINEL_SCHEMES:
        if sentinels_of(url) is None:
            own = "&".join(f"{each}=..." for each in _OF_SENTINELS)
            tls = " and the ssl_...= of rediss://" if scheme == "rediss+sentinel" else ""
            raise ValueError(
                f"url of a RedisStore must be {scheme}://host:port,host:port/service; it may end with ?{own}{tls}; "
                "escape / # ? @ & % in its passwords"
            )
    elif not _is_readable(url):
        raise ValueError("url of a RedisStore has no host and port that can be read; escape / # ? in its password")


def shown_url(url: str) -> str:
    """Return the server without user and password."""
    if (sentinels := sentinels_of(url)) is not None:
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in sentinels.nodes)
        return f"{_scheme_of(url)}://{hosts}/{sentinels.service}"
    parts = urlsplit(url)
    where = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
    return f"{parts.scheme}://{where}"


class Sentinels(NamedTuple):
    """
    The Sentinels of a url, which know which server is the primary.

    Attributes:
        nodes: Host and port of each Sentinel.
        service: The name of the server there.
        credentials: User and password of the server, as far as they are given.
        own_credentials: The same for the Sentinels.
    """

    nodes: tuple[tuple[str, int], ...]
    service: str
    credentials: dict[str, str]
    own_credentials: dict[str, str]


def sentinels_of(url: str) -> Sentinels | None:
    """
    Return what `redis+sentinel://user:password@host:port,…/service?sentinel_username=…&sentinel_password=…` says.

    `rediss+sentinel://` means TLS for both the Sentinels and the server; None for any other url.
    """
    if (scheme := _scheme_of(url)) not in _SENTINEL_SCHEMES:
        return None
    # By hand, since `urlsplit` of some Python releases takes one IPv6 address among several hosts for a mistake.
    place, _, fragment = url.partition("://")[2].partition("#")
    place, _, query = place.partition("?")
    netloc, _, path = place.partition("/")
    told, _, hosts = netloc.rpartition("@")
    try:
        nodes = [urlsplit(f"//{each}") for each in hosts.split(",")]
        found = tuple((each.hostname or "", each.port or _SENTINEL_PORT) for each in nodes)
    except ValueError:  # its message would show what was read as the port
        return None
    service = unquote(path)
    if not service or "/" in path or "@" in told + service + query or fragment:
        return None
    if not all(host for host, _ in found):
        return None
    user, _, password = told.partition(":")
    credentials = {"username": unquote(user), "password": unquote(password)}
    own: dict[str, str] = {}
    for option in query.split("&") if query else ():
        name, is_told, value = option.partition("=")
        if name in _OF_SENTINELS and is_told:
            own[_OF_SENTINELS[name]] = unquote(value)
        elif not (name.startswith("ssl_") and scheme == "rediss+sentinel"):
            return None
    return Sentinels(found, service, {name: value for name, value in credentials.items() if value}, own)


def _scheme_of(url: object) -> str:
    # Never the rest, which may hold a password.
    if not isinstance(url, str):
        return type(url).__name__
    found = _SCHEME.match(url)
    return "" if found is None else found[1].lower()


def _is_readable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its message would show what was read as the port
        return False
    if parts.hostname is None and port is not None:
        return False
    beyond = "@" in parts.path + parts.query + parts.fragment  # a password cut off before its end
    return not beyond or (parts.scheme == "unix" and not parts.netloc)
