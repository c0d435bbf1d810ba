"""Faults of a provider: named replies as providers really send them, delays, and broken connections."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from resilient_ai._core.public import public

from ._apis.answers import NAMED, FakeAnswer

_APIS = ("openai", "anthropic", "google", "azure")
Then = Literal["answer", "reply", "cut", "tear", "reset", "stall"]


@public("testing")
@dataclass(frozen=True, slots=True)
class Fault:
    """
    A fault of one request. Made by the class methods; used in scripts of `FakeProvider`.

    Attributes:
        name: Its name in `Received.fault`.
        then: What happens: the normal "answer" (late), an error "reply", a stream that ends early but cleanly
            ("cut"), one that breaks off within a frame ("tear"), a connection "reset", or no reply at all ("stall").
        status: HTTP status of a reply.
        headers: Headers of a reply. Values `@httpdate+N`, `@rfc3339+N`, `@unix+N` become now + N seconds.
        body: Body of a reply: text unchanged, anything else as JSON.
        delay: Seconds before it happens.
        after_items: Items of a stream that come before it; None: before the reply has begun.
        answer: The answer of a normal "answer", in place of the usual one.
    """

    name: str
    then: Then
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    delay: float = 0.0
    after_items: int | None = None
    answer: FakeAnswer | None = None
    short: str | int | None = field(default=None, repr=False)  # short form of a reply, until the API is known

    def __post_init__(self) -> None:
        if self.delay < 0:
            raise ValueError(f"delay must not be negative, got {self.delay!r}")
        if self.after_items is not None and self.after_items < 0:
            raise ValueError(f"after_items must not be negative, got {self.after_items!r}")

    @classmethod
    def named(cls, name: str) -> Fault:
        """
        A reply as a provider sends it, such as `"openai_insufficient_quota"` or `"anthropic_overloaded"`.

        Raises:
            ValueError: There is no such name; the message lists all names.
        """
        try:
            reply = _replies()[name]
        except KeyError:
            raise ValueError(f"no fault named {name!r}; there are: {', '.join(fault_names())}") from None
        return cls(name, "reply", reply["status"], reply["headers"], reply["body"])

    @classmethod
    def reply(cls, status: int, body: Any = "", headers: Mapping[str, str] | None = None) -> Fault:
        """Any HTTP reply: status, body (text, or a value sent as JSON), headers."""
        kind = "text/plain" if isinstance(body, str) else "application/json"
        return cls(f"status {status}", "reply", status, {"content-type": kind, **(headers or {})}, body)

    @classmethod
    def says(cls, answer: FakeAnswer) -> Fault:
        """An unusable answer: a refusal, a filtered or cut answer, a call of a tool that does not exist."""
        return cls(answer.ends, "answer", answer=answer)

    @classmethod
    def in_stream(cls, name: str | int, *, after_items: int = 1) -> Fault:
        """
        An error event inside a stream that began with status 200; a request without a stream gets it as its reply.

        Args:
            name: Name of a reply, with or without the provider (`"overloaded"`), or an HTTP status.
            after_items: Items of the stream before it. Default 1.

        Raises:
            ValueError: There is no such reply.
        """
        if as_fault(name).then != "reply":
            raise ValueError(f"a fault inside a stream is the name of an error reply or a status, got {name!r}")
        return cls(f"{name} in stream", "reply", after_items=after_items, short=name)

    @classmethod
    def slow(cls, seconds: float) -> Fault:
        """The normal answer, so many seconds late."""
        return cls("slow", "answer", delay=seconds)

    @classmethod
    def reset(cls, *, after_items: int | None = None) -> Fault:
        """The connection is reset: before the reply, or after so many items of a stream."""
        return cls("reset", "reset", after_items=after_items)

    @classmethod
    def stall(cls, *, after_items: int | None = None) -> Fault:
        """Send nothing more, and keep the connection open until the client leaves."""
        return cls("stall", "stall", after_items=after_items)

    @classmethod
    def cut(cls, *, after_items: int = 1) -> Fault:
        """A stream that ends cleanly after so many items, without its closing event; a plain reply is cut."""
        return cls("cut", "cut", after_items=after_items)

    @classmethod
    def tear(cls, *, after_items: int = 1) -> Fault:
        """A stream whose connection closes within a frame; a plain reply is cut."""
        return cls("tear", "tear", after_items=after_items)


@public("testing")
def fault_names() -> list[str]:
    """The names of error replies. A script also accepts the unusable answers "refusal", "filtered" and "length"."""
    return sorted(_replies())


def as_fault(fault: Fault | FakeAnswer | str | int, *, api: str = "openai") -> Fault:
    """
    Convert an entry of a script to a fault.

    Args:
        fault: A `Fault`; an answer; a name, with or without the provider (`"overloaded"`); or an HTTP status.
        api: The provider whose reply a name without a provider means, if it has one of that name. Default "openai".

    Raises:
        ValueError: An unknown name, or not a fault.
    """
    if isinstance(fault, Fault):
        if fault.short is None:
            return fault
        reply = as_fault(fault.short, api=api)
        return replace(
            fault, name=f"{reply.name} in stream", status=reply.status, headers=reply.headers, body=reply.body
        )
    if isinstance(fault, FakeAnswer):
        return Fault.says(fault)
    if isinstance(fault, str) and fault in NAMED:
        return Fault.says(NAMED[fault])
    if isinstance(fault, str):
        names = (fault, f"{api}_{fault}", *(f"{each}_{fault}" for each in _APIS))
        known = next((name for name in names if name in _replies()), None)
        if known is None:
            there_are = f"{', '.join([*fault_names(), *NAMED])}, with or without the provider in front"
            raise ValueError(f"no fault named {fault!r}; there are: {there_are}")
        return Fault.named(known)
    if type(fault) is int and 100 <= fault <= 999:
        return Fault.reply(fault, {"error": {"message": f"status {fault}", "type": None, "param": None, "code": None}})
    raise ValueError(f"a fault is a Fault, a name or an HTTP status, got {fault!r}")


def moments(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with `@httpdate+N`, `@rfc3339+N` and `@unix+N` filled in."""
    now = datetime.now(UTC)
    return {name: _MOMENT.sub(lambda found: _moment(now, found), value) for name, value in headers.items()}


_MOMENT = re.compile(r"@(httpdate|rfc3339|unix)\+(\d+)")


def _moment(now: datetime, found: re.Match[str]) -> str:
    then = now + timedelta(seconds=int(found[2]))
    if found[1] == "httpdate":
        return format_datetime(then, usegmt=True)
    return f"{then.timestamp():.0f}" if found[1] == "unix" else then.strftime("%Y-%m-%dT%H:%M:%SZ")


@cache
def _replies() -> dict[str, dict[str, Any]]:
    text = Path(__file__).with_name("faults.json").read_text(encoding="utf-8")
    replies: dict[str, dict[str, Any]] = json.loads(text)
    return replies
