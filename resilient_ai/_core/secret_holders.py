"""Find the secrets of SDK and HTTP clients by the names of their attributes; no SDK is imported."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .fields import read

_KEYS = (
    "api_key", "admin_api_key", "auth_token", "access_token", "_azure_ad_token", "webhook_secret",
    "aws_access_key", "aws_secret_key", "aws_session_token", "token", "refresh_token",
)  # fmt: skip
_HEADERS = ("default_headers", "headers", "_custom_headers")
_QUERIES = ("default_query", "params", "_custom_query")
_ADDRESSES = ("base_url", "_base_url", "websocket_base_url", "url")
_INNER = (
    "_client", "sdk", "_api_client", "_http_options", "http_client", "_httpx_client", "_async_httpx_client",
    "httpx_client", "httpx_async_client",
)  # fmt: skip
_MOST_HOLDERS = 12
_MOST = 200  # most headers, parameters or cookies of one holder

_NAMES = re.compile(r"(?i)key|token|secret|pass|pwd|auth|cookie|credential|sig|session|bearer|jwt|\bcode\b")
# Headers and parameters that are useful in a message and never contain a key.
_PLAIN = re.compile(
    r"(?i)\A(?:accept.*|content-.*|user-agent|host|connection|origin|(?:http-)?referer|date|cache-control|x-title"
    r"|x-stainless-.*|openai-.*|anthropic-(?!.*key).*|x-goog-(?:api-client|user-project)|traceparent|tracestate|baggage"
    r"|x-(?:request|correlation|trace)-id|x-ms-.*|x-amz-(?!security).*"
    r"|(?:api[-_]?)?version|model|region|location|project|deployment|alt|format|lang|locale|timeout|limit|stream)\Z"
)
_WORDS = re.compile(r"[^\s;,]{1,8192}")


def is_secret(value: str) -> bool:
    """Whether a value is long enough to be removed from messages: 8 characters, or 6 with a letter and a digit."""
    value = value.strip()
    return len(value) >= 8 or (len(value) >= 6 and any(map(str.isdigit, value)) and any(map(str.isalpha, value)))


def credentials_of(client: Any) -> Iterator[str]:
    """Iterate over the keys and tokens of a client, by the names of its attributes."""
    api_client = read(read(client, "sdk") or client, "_api_client")
    for holder in (client, api_client, read(api_client, "_credentials")):
        for name in _KEYS:
            yield from _texts(read(holder, name))


def others_of(client: Any) -> Iterator[str]:
    """Iterate over other secrets of a client: in headers, query parameters, cookies, addresses and auth objects."""
    holders, seen = [client], set[int]()
    while holders and len(seen) < _MOST_HOLDERS:  # a mock object has every attribute, endlessly
        holder = holders.pop(0)
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        yield from _of_holder(holder)
        holders += filter(None, [read(holder, name) for name in _INNER])


def _of_holder(holder: Any) -> Iterator[str]:
    for name in _HEADERS:
        yield from secret_headers(read(holder, name))
    for name in _QUERIES:
        yield from _named(_mapped(read(holder, name)))
    for name in _ADDRESSES:
        address = read(holder, name)
        if isinstance(address, str) or type(address).__name__ == "URL":
            yield from in_address(str(address))
    yield from _in_cookies(read(holder, "cookies"))
    yield from _in_auth(read(holder, "auth"))


def secret_headers(headers: Any, *, unknown: bool = True) -> Iterator[str]:
    """Iterate over the values of secret headers, and with `unknown` also of headers with an unknown name."""
    for name, value in _pairs(_mapped(headers)):
        if name.lower() in ("authorization", "proxy-authorization"):
            yield from _in_authorization(value)
        elif name.lower() in ("cookie", "set-cookie"):
            for each in value.split(";"):
                word, _, content = each.partition("=")
                yield from [content] if content else _WORDS.findall(word)
        elif _NAMES.search(name):
            yield from _WORDS.findall(value)
            yield value
        elif unknown and _may_be_secret(name, value):
            yield value


def in_address(address: str) -> Iterator[str]:
    """Iterate over user, password and keys in a URL, encoded and decoded."""
    try:
        parts = urlsplit(address)
        user, password = parts.username, parts.password
    except ValueError:  # not a valid address
        return
    if password:
        yield from (password, unquote(password))
    if user and (not password or _NAMES.search(user) or any(map(str.isdigit, user))):
        yield from (user, unquote(user))
    yield from _named(parse_qsl(parts.query)[:_MOST])


def attributes_of(attributes: Mapping[str, Any]) -> Iterator[str]:
    """Iterate over the secrets in the attributes of a plain endpoint: keys, headers, addresses, clients."""
    for name, value in list(attributes.items()):
        if isinstance(value, str):
            if "://" in value:
                yield from in_address(value)
            elif _NAMES.search(name):
                yield value
        elif isinstance(value, Mapping):
            unknown = any(word in name.lower() for word in ("header", "query", "cookie"))
            yield from secret_headers(value, unknown=unknown)
        elif _NAMES.search(name):
            yield from _texts(value)
        elif hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
            yield from credentials_of(value)
            yield from others_of(value)


def _in_authorization(value: str) -> Iterator[str]:
    """Iterate over the secrets in `Bearer x`, `Basic x`, `Digest a="x"`, or a custom scheme."""
    words = _WORDS.findall(value)
    scheme = words[0].lower() if len(words) > 1 else ""
    for word in words[1:] or words:
        name, is_parameter, quoted = word.partition("=")
        yield quoted.strip('"') if is_parameter and quoted.strip("=") and name.isidentifier() else word
    if scheme == "basic":
        yield from _decoded(words[-1])


def _decoded(word: str) -> Iterator[str]:
    try:
        user, _, password = base64.b64decode(word).decode().partition(":")
    except (binascii.Error, ValueError):
        return
    yield from (password, *((user,) if _NAMES.search(user) or any(map(str.isdigit, user)) else ()))


def _in_cookies(cookies: Any) -> Iterator[str]:
    jar = read(cookies, "jar")
    for cookie in islice(jar, _MOST) if isinstance(jar, Iterable) else ():
        yield from _texts(read(cookie, "value"))


def _in_auth(auth: Any) -> Iterator[str]:
    """Iterate over all texts in the fields of an auth object, because each class has its own names."""
    if isinstance(auth, tuple | list):
        yield from (text for each in auth for text in _texts(each))
    elif hasattr(type(auth), "auth_flow"):
        for text in _texts(list(vars(auth).values())):
            if text[:6].lower() in ("basic ", "bearer"):
                yield from _in_authorization(text)
            elif "://" not in text:
                yield text


def _named(pairs: Iterable[tuple[Any, Any]]) -> Iterator[str]:
    """Iterate over the values with a secret or an unknown name."""
    return (value for name, value in _pairs(pairs) if _NAMES.search(name) or _may_be_secret(name, value))


def _may_be_secret(name: str, value: str) -> bool:
    return not _PLAIN.match(name) and not any(map(str.isspace, value)) and not value.isalpha() and "://" not in value


def _mapped(mapping: Any) -> Iterable[tuple[Any, Any]]:
    return islice(list(mapping.items()), _MOST) if isinstance(mapping, Mapping) else ()


def _pairs(pairs: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, str]]:
    return ((str(name), text) for name, value in pairs for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    """Iterate over the texts in a string, bytes, a `SecretStr`, or a few of them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode(errors="replace")
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (text for each in islice(value, _MOST) for text in _texts(each))
    elif "get_secret_value" in dir(type(value)):
        yield from _texts(_revealed(value))


def _revealed(secret: Any) -> Any:
    try:
        return secret.get_secret_value()
    except Exception:  # noqa: BLE001 - a secret that is not to be had now is in no message yet
        return None
