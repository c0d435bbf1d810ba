"""The meaning of transport exceptions, by the names of their classes and by the errno of a plain OSError."""

from __future__ import annotations

import errno
import sys
from functools import lru_cache
from typing import Final

from resilient_ai._core.errors import ErrorType
from resilient_ai._core.fields import read

from .evidence import root_of, text_of
from .phrases import compiled
from .verdict import Verdict, verdict

# Class names of transports, SDKs and the standard library, searched along the MRO if there was no reply at all.
_NAMES: tuple[tuple[ErrorType, str], ...] = (
    (ErrorType.TIMEOUT, r"Timeout|DeadlineExceeded|TooSlow"),
    (
        ErrorType.NETWORK_ERROR,
        r"Connect|^Read|^Write|RemoteProtocol|LocalProtocol|ClientOS|ClientPayload|ServerDisconnected|BrokenResource"
        r"|IncompleteRead|Network|ClosedResource|^ProxyError$|^gaierror$|^herror$|^SSLError$|EndOfStream|ChunkedEncoding"
        r"|HTTPClientError|^BadStatusLine$|^RemoteDisconnected$|^HTTPException$|StreamReset|^StreamError$|^TransportError$|^CloseError$"
        r"|^BrokenPipeError$",
    ),
    (
        ErrorType.INTERNAL_ERROR,
        r"DecodingError|BadHttpMessage|APIError$|EventStreamError|ChecksumMismatch|InvalidResponse|ClientResponseError",
    ),
)
# Errnos about the network; every other errno (disk full, too many open files) is a problem of this machine.
_NETWORK_ERRNO_NAMES = (
    "EADDRNOTAVAIL",
    "ECOMM",
    "ECONNABORTED",
    "ECONNREFUSED",
    "ECONNRESET",
    "EHOSTDOWN",
    "EHOSTUNREACH",
    "ENETDOWN",
    "ENETRESET",
    "ENETUNREACH",
    "ENOLINK",
    "ENONET",
    "ENOTCONN",
    "EPIPE",
    "EPROTO",
    "ESHUTDOWN",
    "ETIMEDOUT",
)
_NETWORK_ERRNOS = frozenset(
    number
    for name in _NETWORK_ERRNO_NAMES
    for number in (getattr(errno, name, None), getattr(errno, f"WSA{name}", None))  # no system has all of them
    if number is not None
)


_BUILT_IN: Final[frozenset[type]] = frozenset(
    (
        BrokenPipeError,
        ConnectionAbortedError,
        ConnectionError,
        ConnectionRefusedError,
        ConnectionResetError,
        TimeoutError,
    )
)


def of_closed_loop(error: BaseException) -> bool:
    """
    Whether a client that was reused in another event loop has found a connection of the closed loop.

    Nothing was sent, and the client's pool drops the dead connection, so that the next attempt opens a new one.
    """
    return type(error) is RuntimeError and "event loop is closed" in text_of(error).lower()


def of_class_alone(error: BaseException) -> Verdict | None:
    """
    The verdict for a built-in connection error without a cause and without own attributes.

    Its class is then the only evidence. An outage has many such errors; checking everything would take ten times as
    long.
    """
    if type(error) not in _BUILT_IN or error.__cause__ is not None or error.__context__ is not None or error.__dict__:
        return None
    return _by_name(type(error))  # type: ignore[arg-type]


def from_transport(error: BaseException) -> Verdict | None:
    """The verdict for a failed connection; None for any other exception."""
    if of_closed_loop(error):
        return verdict(ErrorType.NETWORK_ERROR, evidence="a connection of an event loop that is closed")
    return _by_name(type(error)) or _by_errno(error)  # type: ignore[arg-type]


@lru_cache(512)
def _by_name(cls: type) -> Verdict | None:
    for base in cls.__mro__:
        if base in (OSError, Exception):
            break
        if (error_type := kind_of_class(base.__name__)) is not None:
            return verdict(error_type, evidence=f"class {base.__name__}")
    return None


def kind_of_class(name: str) -> ErrorType | None:
    """The error type for the class name of a transport exception; None if the name is unknown."""
    return next((error_type for error_type, pattern in _NAMES if compiled(pattern).search(name)), None)


def _by_errno(error: BaseException) -> Verdict | None:
    cls = type(error)
    if not issubclass(cls, OSError) or (cls is not OSError and root_of(cls) in sys.stdlib_module_names):
        return None  # the standard library has subclasses for files and processes
    number = read(error, "errno")
    if not isinstance(number, int):  # asyncio after several connection attempts, and HTTP libraries in other cases
        return verdict(ErrorType.NETWORK_ERROR, evidence="class OSError")
    return verdict(ErrorType.NETWORK_ERROR, evidence=f"errno {number}") if number in _NETWORK_ERRNOS else None
