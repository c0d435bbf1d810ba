"""How long a provider asks to wait, in seconds: from headers, bodies and messages in all their forms."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any

_MAX_WAIT = 366 * 86400.0
_UNITS = {"ms": 0.001, "milli": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(
    r"(\d{1,12}(?:\.\d{1,12})?) ?(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)(?![a-z])",
    re.I,
)
_PARTS = rf"{_PART.pattern}(?:(?:,| and|,? )?\s?{_PART.pattern}){{0,3}}"
_CLOCK = re.compile(r"(\d{1,3}):(\d\d):(\d\d)\Z")
_TRIGGER = r"\b(?:try again|retry(?:ing)?|retry[- ]after|wait|available|replenish\w*|resets?|reset)\b"
_TEXT_WAITS = (
    rf"{_TRIGGER}[^.\d]{{0,30}}?(?P<wait>{_PARTS})",
    rf"{_TRIGGER}[^.\d]{{0,30}}?(?P<wait>\d{{1,3}}:\d\d:\d\d)\b",
    r"\bretry[- ]after[:=]? ?(?P<wait>\d{1,12}(?:\.\d{1,12})?)\b(?!\s?[a-z%])",
)
# Keys of a body, without case and separators: a word for retrying, a preposition, a unit.
_BACK = r"(?:retry|try ?again|resets?|wait|cool ?down|back ?off)(?:after|in|delay|time|for)?"
_BODY_SECONDS = re.compile(rf"{_BACK}(?:s|secs?|seconds)?|estimatedtime|secondstowait")
_BODY_MILLIS = re.compile(rf"{_BACK}(?:ms|millis|milliseconds)")
_BODY_MOMENTS = frozenset({"resetsat", "resetat", "retryat", "retryafterdate", "availableat"})
_LIMITS_OWN = re.compile(r"reset(?:s|at|in|time)?\Z")  # a bare "reset" is the reset time of a limit, used up or not


def wait_of(headers: dict[str, str], bodies: list[Any], text: str) -> float | None:
    """
    Seconds to wait, counted from now.

    The most explicit source decides: `retry-after-ms`, `Retry-After` (seconds or HTTP date), a field of the body such
    as Google's `retryDelay`, the reset of a limit with 0 remaining, and last the message. A value that is negative, not
    a number or longer than a year is ignored.

    Args:
        headers: Header values by name in lower case.
        bodies: Decoded bodies.
        text: The message; "" if a duration in it would mean something else.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (millis := _number(headers.get(name))) is not None:
            return millis / 1000
    for name in ("retry-after", "x-retry-after", "x-amz-retry-after"):
        if (after := headers.get(name)) is not None:
            wait = _number(after)
            wait = wait if wait is not None else _moment(after)
            if wait is not None:
                return wait / 1000 if name == "x-amz-retry-after" else wait
    for body in bodies:
        if (wait := _in_body(body)) is not None:
            return wait
    resets = [wait for wait in _resets(headers) if wait is not None]
    return max(resets) if resets else _in_text(text)


def _valid(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) and 0 <= seconds <= _MAX_WAIT else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return _valid(float(value))
    except (ValueError, OverflowError):
        return None


def _moment(text: str) -> float | None:
    """Seconds from now until an HTTP date or an RFC 3339 time; 0 for one in the past."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            when = parse(text.strip())
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
            return _valid(max(0.0, (when - datetime.now(UTC)).total_seconds()))
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def duration(text: str) -> float | None:
    """
    Parse a written duration into seconds; None if it is not one.

    >>> [duration(text) for text in ("20s", "6m0s", "120ms", "7m12.5s", "02:33:30", "5 minutes", "12", "soon")]
    [20.0, 360.0, 0.12, 432.5, 9210.0, 300.0, 12.0, None]
    """
    text = text.strip()[:100]
    if (number := _number(text)) is not None:
        return number
    if clock := _CLOCK.match(text):
        return _valid(int(clock[1]) * 3600.0 + int(clock[2]) * 60 + int(clock[3]))
    total, end = 0.0, 0
    for part in _PART.finditer(text):
        if text[end : part.start()].strip(" ,") not in ("", "and"):
            return None
        total, end = total + float(part[1]) * _unit(part[2]), part.end()
    return _valid(total) if end and end == len(text) else None


def _unit(word: str) -> float:
    word = word.lower()
    return next(_UNITS[start] for start in ("milli", "ms", "min", "sec", "s", "m", "h", "d") if word.startswith(start))


def _in_text(text: str) -> float | None:
    for pattern in _TEXT_WAITS:
        if match := re.search(pattern, text, re.IGNORECASE):  # compiled at the first error, and cached by `re`
            return duration(match["wait"])
    return None


def _resets(headers: dict[str, str]) -> list[float | None]:
    found: list[float | None] = []
    for name, left in headers.items():
        if "ratelimit" in name and "remaining" in name and _number(left) == 0:
            reset = headers.get(name.replace("remaining", "reset"))
            found.append(_reset(reset) if reset is not None else None)
    return found


def _reset(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        wait = duration(text)
        return wait if wait is not None else _moment(text)
    if number > 1e9:  # a unix time, in seconds or milliseconds
        number = (number / 1000 if number > 1e11 else number) - datetime.now(UTC).timestamp()
        return _valid(max(0.0, number))
    return _valid(number)


def _in_body(thing: Any, depth: int = 0) -> float | None:
    if depth > 8:
        return None
    if isinstance(thing, dict):
        for key, value in islice(thing.items(), 50):
            name = str(key)[:40].lower().replace("_", "").replace("-", "")
            if name == "retrydelay":
                return _google_delay(value)
            if (wait := _of_key(name, value)) is not None:
                return wait
        thing = list(islice(thing.values(), 50))
    if isinstance(thing, list):
        for each in thing[:50]:
            if isinstance(each, dict | list) and (wait := _in_body(each, depth + 1)) is not None:
                return wait
    return None


def _of_key(name: str, value: Any) -> float | None:
    """Seconds to wait according to one field of a body; None if the field does not say."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if _BODY_MILLIS.fullmatch(name):
        return None if (millis := _number(value)) is None else millis / 1000
    if name in _BODY_MOMENTS:
        return _reset(str(value))
    if _BODY_SECONDS.fullmatch(name) and not _LIMITS_OWN.match(name):
        return duration(value) if isinstance(value, str) else _number(value)
    return None


def _google_delay(value: Any) -> float | None:
    if isinstance(value, str):
        return duration(value)
    if isinstance(value, dict):  # a protobuf Duration that was not turned into text
        try:
            return _valid(float(value.get("seconds", 0)) + float(value.get("nanos", 0)) / 1e9)
        except (TypeError, ValueError, OverflowError):
            return None
    return _number(value)
