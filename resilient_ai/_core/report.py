"""What is told to people: counts, and the tables that the registry shows in a REPL and in a notebook."""

from __future__ import annotations

import html
from dataclasses import dataclass, fields

from .printable import printable

_WIDEST = 80  # characters of a cell


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the registry's table; None is shown as a blank."""

    call_site: str
    policy: str
    state: str
    calls: int
    ok: int | None = None
    failed: int | None = None
    retried: int | None = None
    degraded: int | None = None
    p95: float | None = None  # seconds


class Tally:
    """
    Good calls, counted without a lock: between two calls or jumps CPython does not switch threads.

    It is one class for every kind of state, because the interpreter's caches know one class at a place.
    """

    __slots__ = ("ok",)

    def __init__(self) -> None:
        self.ok = 0


_HEAD = tuple(field.name.replace("_", " ") for field in fields(Row))


def text_table(rows: list[Row]) -> str:
    """Columns aligned, numbers to the right, no trailing blanks."""
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return "\n".join(lines)


def html_table(rows: list[Row]) -> str:
    """The same table for a notebook."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in _HEAD)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(row: Row) -> tuple[str, ...]:
    values = (getattr(row, field.name) for field in fields(Row))
    return tuple(_text(value) for value in values)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value * 1000:,.0f} ms"
    text = printable(str(value))  # a name or a key may be a user's of the program
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
