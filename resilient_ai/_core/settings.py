"""
Settings that are changed at run time: the values that were set, and which of them apply to a call site.

Every value here is immutable. A change makes a new `Book`, which replaces the old one in one step.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from .checks import each_alone
from .public import public
from .table import as_shown

if TYPE_CHECKING:
    from collections.abc import Callable

C = TypeVar("C")

CONFIGURED = "configure"  # the origin of settings by the program; other settings have the name of their file


class Tunable(Protocol):
    """A kind of policy, with the attributes needed for its settings."""

    kind: ClassVar[str]
    changeable: ClassVar[tuple[str, ...]]

    @classmethod
    def default_config(cls) -> Any: ...
    @classmethod
    def changed(cls, config: Any, changes: Mapping[str, Any]) -> Any: ...


KINDS: dict[str, type[Tunable]] = {}  # of imported policies

_import_kinds: Callable[[], object] = lambda: None  # noqa: E731 - set by the rim, which knows every policy


def import_kinds_with(importer: Callable[[], object]) -> None:
    """Call `importer` before a name is reported as unknown: not every policy is imported from the start."""
    global _import_kinds
    _import_kinds = importer


@public("types")
@dataclass(frozen=True, slots=True)
class Setting:
    """
    One value that was set at run time.

    Attributes:
        pattern: The call sites: a name as in the registry's table, or a pattern with `*` and `?`.
        kind: The decorator.
        name: The setting; a nested one after a dot, such as `rules.rate_limit.max_retries`.
        value: Its value.
        origin: "configure", or the name of the file.
        matches: Names of the matching call sites; empty if there are none yet.
    """

    pattern: str
    kind: str
    name: str
    value: Any
    origin: str = CONFIGURED
    matches: tuple[str, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether `pattern` is a plain name."""
        return not any(each in self.pattern for each in "*?")

    def fits(self, site: str) -> bool:
        """Whether it matches a call site, whose name may be given in full or by its last part."""
        names = (site, as_shown(site), site.rpartition(".")[2])
        return self.pattern in names or (
            not self.is_exact and any(fnmatch.fnmatchcase(each, self.pattern) for each in names)
        )

    def __str__(self) -> str:
        return f"{self.pattern} {self.kind} {self.name}={self.value!r} ({self.origin})"


@dataclass(frozen=True, slots=True)
class Book:
    """
    Every value that was set.

    Attributes:
        file: Settings from the latest loaded file.
        own: Settings by the program, the latest last.
    """

    file: tuple[Setting, ...] = ()
    own: tuple[Setting, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.file or self.own)

    def __iter__(self) -> Any:
        return iter((*self.file, *self.own))

    def adding(self, new: Iterable[Setting]) -> Book:
        """A book with more settings by the program; a value that is set again counts as the latest."""
        own = {(each.pattern, each.kind, each.name): each for each in self.own}
        for each in new:
            own.pop((each.pattern, each.kind, each.name), None)
            own[each.pattern, each.kind, each.name] = each
        return Book(self.file, tuple(own.values()))

    def without(self, patterns: tuple[str, ...]) -> Book:
        """A book without the settings by the program for these patterns."""
        known = list(dict.fromkeys(each.pattern for each in self.own))
        for pattern in patterns:
            if pattern not in known:
                raise ValueError(unknown("nothing is configured for", pattern, known))
        return Book(self.file, tuple(each for each in self.own if each.pattern not in patterns))

    def of(self, kind: str, site: str) -> tuple[Setting, ...]:
        """
        The settings that apply to a call site, the weakest first.

        A file is weaker than the program, a pattern is weaker than a name, and earlier settings are weaker than later
        ones.
        """
        fitting = [
            sorted((each for each in layer if each.kind == kind and each.fits(site)), key=lambda each: each.is_exact)
            for layer in (self.file, self.own)
        ]
        return tuple(each for layer in fitting for each in layer)

    def config(self, kind: str, site: str, declared: Any) -> Any:
        """
        The settings of a call site.

        Args:
            kind: Kind of the policy.
            site: Name of the call site.
            declared: The settings of the decorator; returned unchanged if nothing was set.
        """
        if not self or kind not in KINDS or not (holding := self.of(kind, site)):
            return declared
        return changed(KINDS[kind], declared, holding, site)


def changed(kind: type[Tunable], config: Any, settings: Iterable[Setting], site: str) -> Any:
    """A config with settings applied, of which the last is the strongest."""
    changes: dict[str, Any] = {}
    for each in settings:
        _put(changes, each.name.split("."), each.value)
    try:
        return kind.changed(config, changes)
    except (TypeError, ValueError) as error:
        origins = ", ".join(dict.fromkeys(f"{each.origin} [{each.pattern}]" for each in settings))
        raise ValueError(f"{kind.kind} of {as_shown(site)!r}: {error} (set by {origins})") from None


def _put(into: dict[str, Any], path: list[str], value: Any) -> None:
    *outer, last = path
    for name in outer:
        known = into.get(name)
        if dataclasses.is_dataclass(known) and not isinstance(known, type):
            known = {field.name: getattr(known, field.name) for field in dataclasses.fields(known)}
        into[name] = known = dict(known) if isinstance(known, dict) else {}
        into = known
    into[last] = value


def replaced(config: C, changes: Mapping[str, Any]) -> C:
    """A frozen dataclass with other values, which are checked. For a plain function, timeouts cannot be set."""
    untimed = getattr(config, "timeouts", ()) if getattr(config, "plain", False) else ()
    kept = {name: value for name, value in changes.items() if name not in untimed}
    return dataclasses.replace(config, **kept)  # type: ignore[type-var]  # every config is a dataclass


# -- reading what a program or a file sets


def settings_from(given: object, origin: str) -> tuple[Setting, ...]:
    """
    The settings in `{name or pattern: {policy: {setting: value}}}`.

    Raises:
        ValueError: The form is wrong, or a policy or setting does not exist; the message lists the existing ones.
    """
    from_file = origin != CONFIGURED
    found: list[Setting] = []
    for pattern, kinds in _items(given, "settings are {call site: {policy: {setting: value}}}"):
        if not pattern or "[" in pattern:
            raise ValueError(
                f"settings go by call site, not by endpoint or key: {pattern!r} must be a name as the table shows it"
                " without brackets, or a pattern with * and ?"
            )
        for name, settings in _items(kinds, f"the settings of {pattern!r} are {{policy: {{setting: value}}}}"):
            kind = _kind(name, pattern, settings, from_file=from_file)
            each_of = _items(settings, f"{name} of {pattern!r} is {{setting: value}}")
            mine = [
                Setting(pattern, kind.kind, path, value, origin)
                for setting, given_value in each_of
                for path, value in _leaves(_known(setting, kind), given_value, kind, from_file=from_file)
            ]
            _check_alone(kind, mine, pattern)
            found += mine
    return tuple(found)


def _items(given: object, form: str) -> list[tuple[str, Any]]:
    if not isinstance(given, Mapping) or not all(isinstance(each, str) for each in given):
        raise ValueError(f"{form}, got {given!r}")
    return list(given.items())


def _kind(name: str, pattern: str, settings: Any, *, from_file: bool) -> type[Tunable]:
    _import_kinds()
    known = sorted(kind for kind, cls in KINDS.items() if cls.changeable)
    if name in known:
        return KINDS[name]
    nested = next((each for each in settings if each in known), None) if isinstance(settings, Mapping) else None
    if from_file and nested is not None:
        raise ValueError(f'a name with dots needs quotes: write ["{pattern}.{name}".{nested}]')
    raise ValueError(unknown(f"for {pattern!r} there is no policy", name, known))


def _known(setting: str, kind: type[Tunable]) -> str:
    if setting in kind.changeable:
        return setting
    if setting in {field.name for field in dataclasses.fields(kind.default_config())}:
        raise ValueError(f"{setting} of {kind.kind} is set by the decorator alone")
    raise ValueError(unknown(f"{kind.kind} has no setting", setting, kind.changeable))


def _leaves(path: str, value: Any, kind: type[Tunable], *, from_file: bool) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        if not value:
            raise ValueError(f"{path} of {kind.kind} is an empty table")
        return [
            leaf
            for name, each in value.items()
            for leaf in _leaves(f"{path}.{getattr(name, 'value', name)}", each, kind, from_file=from_file)
        ]
    if callable(value):
        raise ValueError(f"{path} of {kind.kind} must be a plain value, got {value!r}; functions are for the decorator")
    if from_file and value is False and not isinstance(getattr(kind.default_config(), path, None), bool):
        return [(path, None)]  # TOML has no None
    return [(path, value)]


def _check_alone(kind: type[Tunable], settings: list[Setting], pattern: str) -> None:
    """Refuse values that are illegal at every call site; whether they fit the decorator's is checked later."""
    with each_alone():
        changed(kind, kind.default_config(), settings, pattern)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """A message about an unknown name: which one may be meant, and which names exist."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"{what} {name!r}{meant or ';'} there are: {', '.join(known) or 'none'}"


# -- showing settings


def flat(config: Any, names: Iterable[str]) -> dict[str, Any]:
    """Settings as plain values by name; a nested one after a dot."""
    return {path: value for name in names for path, value in _flat(name, getattr(config, name))}


def _flat(path: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, tuple) and value and all(isinstance(each, tuple) and len(each) == 2 for each in value):
        value = {getattr(key, "value", key): each for key, each in value}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return [leaf for name, each in value.items() for leaf in _flat(f"{path}.{name}", each)]
    if callable(value):
        value = getattr(value, "__qualname__", type(value).__qualname__)
    return [(path, value)]


@public("types")
class Settings(tuple[Setting, ...]):
    """The values of `registry.settings`: everything that was set at run time, the weakest first."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self:
            return "nothing is set beside the decorators"
        lines = [("for", "policy", "setting", "value", "from", "meant for")]
        for each in self:
            sites = ", ".join(map(as_shown, each.matches)) or "matches nothing"
            lines.append((each.pattern, each.kind, each.name, repr(each.value), each.origin, sites))
        widths = [max(len(line[column]) for line in lines) for column in range(5)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[5]]).rstrip()
            for line in lines
        )
