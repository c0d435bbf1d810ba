"""No text of anybody's can stop the process: every pattern of the package takes time that grows with the text alone."""

from __future__ import annotations

import ast
import importlib
import re
import time
import types
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

import pytest

import resilient_ai

SHORT, LONG = 10_000, 100_000  # characters; a square would take a hundred times as long, a line ten times
MOST_LITERALS = 12
SUSPECTS = 5  # the slowest texts of each pattern, which are tried at full length
MOST = 30  # times as long for ten times the text
TRIVIAL_SECONDS = 0.000_1  # for the short text: a square of that is 10 ms for the long one
PATTERN_FUNCTIONS = ("search", "match", "fullmatch", "finditer", "findall", "split", "sub", "subn")
ANCHORED = ("match", "fullmatch")
PACKAGE = Path(resilient_ai.__file__).parent


class Found(NamedTuple):
    """A pattern, where it stands, and how it is asked."""

    module: str
    place: str
    pattern: re.Pattern[str]
    asked: frozenset[str]


FILES = [
    name
    for name in (
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(PACKAGE.rglob("*.py"))
    )
    if not name.endswith(("__main__", "_pytest_plugin"))
]


def modules() -> Iterator[tuple[str, Any, ast.Module]]:
    for name in FILES:
        module = importlib.import_module(name)
        yield name, module, ast.parse(Path(str(module.__file__)).read_text())


def patterns_in(value: Any, depth: int = 0) -> Iterator[re.Pattern[Any] | str]:
    """Patterns and texts in a value of a module: in containers, in fields of objects, in defaults and closures."""
    if isinstance(value, re.Pattern | str):
        yield value
    elif depth < 6:
        inner: list[Any] = []
        if isinstance(value, Mapping):
            inner = [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            inner = list(value)
        elif isinstance(value, type) and str(value.__module__).startswith("resilient_ai"):
            inner = [member for name, member in vars(value).items() if not name.startswith("__")]
        elif isinstance(value, types.FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or () if _has_content(cell)]
            inner = [*(value.__defaults__ or ()), *cells]
        elif str(type(value).__module__).startswith("resilient_ai"):
            slots = [name for base in type(value).__mro__ for name in getattr(base, "__slots__", ())]
            inner = [*getattr(value, "__dict__", {}).values(), *(getattr(value, name, None) for name in slots)]
        for each in inner:
            yield from patterns_in(each, depth + 1)


def as_pattern(text: str, *, certainly: bool) -> re.Pattern[str] | None:
    """A text as a pattern, if it is one: a table of patterns is compiled by its first use."""
    if not certainly and not re.search(r"\\[bwdsSW]|\(\?|\[\^|[\])\w][+*]|\{\d", text):
        return None
    try:
        return re.compile(text)
    except re.error:
        return None


def _has_content(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def methods_used(name: str, tree: ast.Module) -> frozenset[str]:
    """How a module asks a pattern that it knows by a name."""
    return frozenset(
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in PATTERN_FUNCTIONS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == name
    )


def patterns_in_calls(name: str, module: Any, tree: ast.Module) -> Iterator[Found]:
    """Patterns that are handed to a function of `re` as text."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr in (*PATTERN_FUNCTIONS, "compile")
        ):
            place = f"{name}:{node.lineno}"
            try:
                text = eval(compile(ast.Expression(node.args[0]), place, "eval"), vars(module))
            except NameError:
                continue  # of a local variable: it comes from a table of the module, which is looked through as well
            if isinstance(text, str):
                asked = frozenset((node.func.attr,)) if node.func.attr != "compile" else frozenset()
                yield Found(name, place, re.compile(text), asked)


def patterns_of(name: str, module: Any, tree: ast.Module) -> Iterator[Found]:
    # Those that have a name first, because they are compiled with their flags there.
    uses_patterns = any(isinstance(node, ast.Import) and node.names[0].name == "re" for node in ast.walk(tree))
    for variable, value in vars(module).items():
        if variable.startswith("__"):
            continue
        for number, each in enumerate(patterns_in(value)):
            asked = methods_used(variable, tree) if value is each else frozenset()
            if isinstance(each, str):
                pattern = as_pattern(each, certainly=False) if uses_patterns else None
            else:
                pattern = each if isinstance(each.pattern, str) else None
            if pattern is not None:
                yield Found(name, f"{name}.{variable}" + (f"[{number}]" if value is not each else ""), pattern, asked)
    yield from patterns_in_calls(name, module, tree)


@cache
def everything() -> list[Found]:
    """Every pattern once, whichever modules import it."""
    found: dict[str, Found] = {}
    for name, module, tree in modules():
        for each in patterns_of(name, module, tree):
            found.setdefault(each.pattern.pattern, each)
    return list(found.values())


def literals(pattern: re.Pattern[str]) -> list[str]:
    """Pieces of text that the pattern looks for."""
    pieces: set[str] = set()

    def walk(parsed: Any) -> None:
        run = ""
        for operation, argument in parsed:
            if str(operation) == "LITERAL":
                run += chr(argument)
                continue
            pieces.add(run)
            run = ""
            inner = argument if isinstance(argument, tuple | list) else (argument,)
            for each in inner:
                if isinstance(each, _parser.SubPattern):
                    walk(each)
                elif isinstance(each, list):
                    for one in each:
                        if isinstance(one, _parser.SubPattern):
                            walk(one)
        pieces.add(run)

    walk(_parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG))
    return sorted(pieces - {""}, key=len, reverse=True)[:MOST_LITERALS]


FILLERS = ("a", "0", " ", ".", "-", "=", "/", "é")
REPEATED = (
    *"aA0 .,;:!?-_=+/\\@#$%&*'\"()[]{}<>|~^\n\t\u00e9\u4e2d\u3002\u3042\u0300\u200b\U0001f600",
    *(
        "a.",
        "a-",
        "a_",
        "a:",
        "a@",
        "a/",
        "a+",
        "a'",
        "0.",
        "0-",
        "0,",
        "0:",
        "0/",
        "A0",
        "aA",
        "A.",
        "a..",
        "a--",
        "{'",
    ),
    *("&a;", "%41", "\\u0041", "a@a.", "sk-", "eyJ", "key=", "1h2m", "ACGT", "http://", "a ", "0 ", "0 0-", "' '"),
    *('" ', '{"', "<a ", "not ", "a. B", "a.b ", "x=1 ", ".\n", "Bearer ", "retry after "),
)


def families(pattern: re.Pattern[str]) -> Iterator[str]:
    """Pieces that make a text, repeated, with which such a pattern may be slow."""
    yield from REPEATED
    for piece in literals(pattern):
        yield piece
        for filler in FILLERS:
            yield piece + filler  # many beginnings
            yield piece + filler * 40


def texts(pattern: re.Pattern[str]) -> Iterator[tuple[str, str, str]]:
    """(what it is, short text, long text)"""
    for unit in dict.fromkeys(families(pattern)):
        yield repr(unit), unit * (SHORT // len(unit)), unit * (LONG // len(unit))
    for filler in (*FILLERS, "\n", "\t"):
        yield f"{filler!r}, then an end", filler * SHORT + "\x00", filler * LONG + "\x00"
    for piece in literals(pattern)[:12]:  # one beginning, and an end that does not fit
        for filler in FILLERS[:10]:
            yield f"{piece!r}, then {filler!r}", piece + filler * SHORT + "\x00", piece + filler * LONG + "\x00"


def seconds(found: Found, text: str) -> float:
    """Processor time of this thread, which others' work does not change."""
    began = time.thread_time()
    if not found.asked or not found.asked <= set(ANCHORED):
        for _ in found.pattern.finditer(text):
            pass
    if not found.asked or "match" in found.asked:
        found.pattern.match(text)
    if not found.asked or "fullmatch" in found.asked:
        found.pattern.fullmatch(text)
    return time.thread_time() - began


def is_slow(found: Found, short: str, long: str, most: float = MOST) -> bool:
    """Whether a long text takes far more than its share, measured again before that is believed."""
    base = min(seconds(found, short) for _ in range(2))
    if seconds(found, long) <= most * base:
        return False
    base = max(seconds(found, short) for _ in range(3))
    return min(seconds(found, long) for _ in range(2)) > most * base


def slow_text(found: Found) -> str | None:
    """
    What makes a pattern slow, if anything does.

    Texts of 1,000 characters choose the suspects: where time grows with the square, one of them stands out there.
    """
    suspects = sorted(texts(found.pattern), key=lambda each: seconds(found, each[1][-SHORT // 10 :]))[-SUSPECTS:]
    for what, short, long in reversed(suspects):
        tenth, whole = (min(seconds(found, each) for _ in range(2)) for each in (short[-SHORT // 10 :], short))
        # A text that is so slow already would take minutes in full length.
        if whole > 0.01 and whole > MOST / 2 * tenth and is_slow(found, short[-SHORT // 10 :], short, MOST / 2):
            return what
        if whole > TRIVIAL_SECONDS and is_slow(found, short, long):
            return what
    return None


def test_the_patterns_of_the_package_are_found():
    modules_with_patterns = {found.module for found in everything()}

    assert len(everything()) > 40
    assert {"resilient_ai._core.secrets", "resilient_ai._classification.wait_hints"} <= modules_with_patterns


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_text_of_ten_times_the_length_takes_about_ten_times_as_long(name):
    here = [found for found in everything() if found.module == name]
    slow = {found.place: (what, found.pattern.pattern[:80]) for found in here if (what := slow_text(found)) is not None}

    assert slow == {}, "not linear"


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern",
    [
        r"[\w.]+@\w+",
        r"\s+$",
        r"x=\S*!",
        r"[.!?]+\s+(?=[A-Z])",
        r"\beyJ[\w-]{8,}\.",
        r"retry\w* after (?:\w+ ){0,3}\d",
        r"pin:(?=\S*\d)\S{3,}",
    ],
)
def test_a_slow_pattern_would_be_noticed(pattern):
    assert slow_text(Found("planted", "planted", re.compile(pattern), frozenset()))
