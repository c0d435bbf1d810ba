"""The registry's table, as text for a REPL and as HTML for a notebook: its rows and its layout."""

from __future__ import annotations

import html
from collections import Counter
from typing import TYPE_CHECKING

from .printable import printable
from .report import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 120  # characters of a line
MOST_LINES = 40
MOST_OF_A_KIND = 6  # most rows of one policy at one call site: a circuit may have thousands of keys
SMALL_SHARE = 0.01  # a smaller share of failed or degraded calls does not count as trouble

COLUMNS = ("call_site", "policy", "state", "calls", "ok", "failed", "neutral", "retried", "degraded", "p95")
LEGEND = (
    "calls = ok + failed + degraded + neutral (cancelled, throttled, caller's mistake);"
    " retried: attempts after the first"
)
_NUMBERS = frozenset(COLUMNS[3:])
_NARROWEST = 16  # least characters of a text column


# -- which rows


def folded(sites: Iterable[Sequence[Row]]) -> list[Row]:
    """
    The rows that fit on one screen.

    Args:
        sites: The rows of each call site, the outermost policy first.

    Returns:
        All rows if they are few. Otherwise the call sites in trouble come first, with all their rows as long as they
        fit; each of the others has one row, and the last row stands for those that do not fit.
    """
    groups = [_few_of_each_kind(rows) for rows in sites]
    if sum(map(len, groups)) <= MOST_LINES:
        return [row for rows in groups for row in rows]
    groups.sort(key=_trouble, reverse=True)  # stable: equals stay in the order of decoration
    shown: list[Row] = []
    for index, rows in enumerate(groups):
        room, others = MOST_LINES - len(shown), len(groups) - index - 1
        if _needs_a_look(rows) and len(rows) + min(others, MOST_LINES // 2) <= room:
            shown += rows
        elif room > 1 or not others:
            shown.append(_in_one(rows))
        else:
            shown.append(_sum(f"… {others + 1} more", "", _worst_state(groups[index:]), groups[index:]))
            break
    return shown


def _few_of_each_kind(rows: Sequence[Row]) -> list[Row]:
    kept: list[Row] = []
    for kind in dict.fromkeys(row.policy for row in rows):
        same = [row for row in rows if row.policy == kind]
        if len(same) > MOST_OF_A_KIND:
            same.sort(key=lambda row: _trouble([row]), reverse=True)
            rest = [[row] for row in same[MOST_OF_A_KIND - 1 :]]
            name = same[0].call_site.partition("[")[0]
            same = [*same[: MOST_OF_A_KIND - 1], _sum(f"{name}[… {len(rest)} more]", kind, _worst_state(rest), rest)]
        kept += same
    return kept


def _trouble(rows: Sequence[Row]) -> tuple[bool, float]:
    """The degree of trouble: alarm first, then the share of bad calls."""
    shares = (((row.failed or 0) + (row.degraded or 0)) / row.calls for row in rows if row.calls)
    return any(row.alarm for row in rows), max(shares, default=0.0)


def _needs_a_look(rows: Sequence[Row]) -> bool:
    alarm, share = _trouble(rows)
    return alarm or share >= SMALL_SHARE


def _worst_state(sites: Sequence[Sequence[Row]]) -> str:
    rows = [row for rows in sites for row in rows]
    if not _needs_a_look(rows):
        return "well"
    worst = max(rows, key=lambda row: _trouble([row]))
    return f"{worst.policy} {worst.state}" if worst.alarm else "some calls fail"


def _in_one(rows: Sequence[Row]) -> Row:
    """A call site in one row, with the numbers of its outermost policy, which sees the same as the caller."""
    if len(rows) == 1:
        return rows[0]
    return _sum(rows[0].call_site.partition("[")[0], f"{len(rows)} folded", _worst_state([rows]), [rows])


def _sum(name: str, policy: str, state: str, sites: Sequence[Sequence[Row]]) -> Row:
    # The outermost policy counts each call once, even if it has several states for endpoints or keys.
    outermost = [row for rows in sites for row in rows if row.policy == rows[0].policy]

    def total(column: str) -> int | None:
        numbers = [getattr(row, column) for row in outermost]
        return sum(number or 0 for number in numbers) if any(number is not None for number in numbers) else None

    every = [row for rows in sites for row in rows]
    return Row(
        name,
        policy,
        state,
        total("calls") or 0,
        ok=total("ok"),
        failed=total("failed"),
        neutral=total("neutral"),
        retried=sum(row.retried for row in every if row.retried is not None),
        degraded=total("degraded"),
        p95=max((row.p95 for row in every if row.p95 is not None), default=None),
        alarm=any(row.alarm for row in every),
        more={head: _of_many(head, every) for head in _more_heads(every)},
    )


def _more_heads(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(head for row in rows for head, cell in row.more.items() if cell is not None))


def _of_many(head: str, rows: Sequence[Row]) -> str | None:
    """The value of a column for many rows: that of the row in the most trouble, else the most frequent one."""
    worst = max(rows, key=lambda row: _trouble([row]))
    if worst.alarm and (cell := worst.more.get(head)) is not None:
        return cell
    return Counter(cell for row in rows if (cell := row.more.get(head)) is not None).most_common(1)[0][0]


# -- layout


def text_table(rows: Sequence[Row]) -> str:
    """The table with aligned columns, numbers to the right, no trailing blanks, and a legend below."""
    columns, lines = _laid_out(rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    _narrow(widths)
    shown = [
        "  ".join(
            (cell.rjust(width) if name in _NUMBERS else _cut(cell, width, keep_end=name == "call_site").ljust(width))
            for name, cell, width in zip(columns, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    # A table of one kind needs no legend.
    return "\n".join([*shown, LEGEND] if len({row.policy for row in rows}) > 1 else shown)


def html_table(rows: Sequence[Row], note: str | None = None) -> str:
    """The same table for a notebook, with a note below the legend."""
    _, (head, *lines) = _laid_out(rows)

    def line(tag: str, cells: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line("td", cells) for cells in lines)
    below = "<br>".join(html.escape(each) for each in (LEGEND, note) if each is not None)
    caption = f'<caption style="caption-side: bottom; text-align: left">{below}</caption>'
    return f"<table>{caption}<thead>{line('th', head)}</thead><tbody>{body}</tbody></table>"


def _laid_out(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The columns and the lines, headings first. Without neutral calls, which are rare, their column is left out."""
    neutral = any(row.neutral is not None for row in rows)
    columns = [name for name in COLUMNS if neutral or name != "neutral"]
    head, more = [name.replace("_", " ") for name in columns], _more_heads(rows)
    cells = [[getattr(row, name) for name in columns] + [row.more.get(each) for each in more] for row in rows]
    return columns + more, [head + more, *([_text(cell) for cell in line] for line in cells)]


def _narrow(widths: list[int]) -> None:
    """Shorten names and states until a line fits."""
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        widest = max((0, 2), key=lambda column: widths[column])
        if widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1


def _cut(cell: str, width: int, *, keep_end: bool) -> str:
    if len(cell) <= width:
        return cell
    return "…" + cell[1 - width :] if keep_end else cell[: width - 1] + "…"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value * 1000:,.0f} ms"
    return printable(as_shown(str(value)))  # a name or a key may come from a user of the program


def as_shown(name: str) -> str:
    """A qualified name in its usual form: `main.ask` for a function in a function."""
    return name.replace(".<locals>", "")
