"""Changing settings while a program runs: all of a change is checked first, then put in place; states stay."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .events import SettingsChanged
from .modes import policies_of, settle
from .settings import CONFIGURED, KINDS, Book, Setting, Settings, flat, settings_from

if TYPE_CHECKING:
    import threading

    from .claim import KeyClaim
    from .events import Event

Path = str | os.PathLike[str]


class RunTimeSettings:
    """The part of a registry that changes the settings of its call sites."""

    book = Book()
    _file: Path | None = None  # loaded last

    if TYPE_CHECKING:  # what else the registry has
        _states: dict[tuple[str, str], KeyClaim]
        _lock: threading.RLock

        def emit(self, event: Event) -> None: ...

    def configure(
        self, settings: Mapping[str, Mapping[str, Mapping[str, Any]]], *, strict: bool = False
    ) -> list[SettingsChanged]:
        """
        Change settings while calls run.

        States stay as they are: counts, open periods, budgets, learned limits. Calls under way end as they began. It
        adds to earlier calls; `unset` takes back. Where several values hold for a call site, an exact name beats a
        pattern, the later the earlier, and this method what a file says.

        Args:
            settings: {call site: {policy: {setting: value}}}. A call site is named as the registry's table shows it,
                without brackets, or by a pattern with `*` and `?`; one that does not exist yet is met once it is
                decorated. A policy has its decorator's name. A setting within another is one more mapping:
                `{"rules": {"rate_limit": {"max_retries": 2}, "timeout": None}}`.
            strict: Refuse call sites that do not exist yet.

        Returns:
            What changed, one for each call site and policy; each is also told as an event.

        Raises:
            ValueError: A policy or setting that does not exist, or a bad value. Then nothing has changed.
        """
        new = settings_from(settings, CONFIGURED)
        with self._lock:
            changes = self._put_in_place(self.book.adding(new), must_match=new if strict else ())
        return self._told(changes)

    def unset(self, *patterns: str) -> list[SettingsChanged]:
        """
        Take back what `configure` was given for these call sites, or patterns as they were written; default: all.

        Returns:
            What changed.

        Raises:
            ValueError: Nothing is configured for one of them. Then nothing has changed.
        """
        with self._lock:
            book = self.book.without(patterns) if patterns else Book(self.book.file)
            changes = self._put_in_place(book)
        return self._told(changes)

    def load(self, path: Path | None = None, *, strict: bool = False) -> list[SettingsChanged]:
        """
        Take settings from a TOML file, in place of those of the file that was loaded before.

        A table has the name of a call site, and in it one table for each policy; a name with dots or a `*` needs
        quotes. `false` stands for None. Nobody watches the file; call this again when it has changed, on SIGHUP say.

        Args:
            path: Default: the file that was loaded last, which `RESILIENT_AI_CONFIG` in the environment names at the
                start of the program.
            strict: Refuse call sites that do not exist yet.

        Returns:
            What changed.

        Raises:
            OSError: The file cannot be read. Then nothing has changed.
            ValueError: It is no TOML, names a policy or setting that does not exist, or has a bad value; or there is no
                file to load again. Then nothing has changed.
        """
        path = path if path is not None else self._file
        if path is None:
            raise ValueError("no file was loaded before, and RESILIENT_AI_CONFIG names none; give its path")
        new = _from_file(path)
        with self._lock:
            changes = self._put_in_place(Book(new, self.book.own), must_match=new if strict else ())
            self._file = path
        return self._told(changes)

    @property
    def settings(self) -> Settings:
        """Every value that was set while the program runs, the weakest first, and for which call sites it is meant."""
        book, sites = self.book, [site for site, _ in self._reach()]
        return Settings(
            replace(
                each,
                matches=tuple(sorted({name for kind, name in sites if kind == each.kind and each.fits(name)})),
            )
            for each in book
        )

    # -- within

    def _reach(self) -> list[tuple[tuple[str, str], Any]]:
        """Kind and name of everything that settings can reach, each with what its decorator says."""
        reach = [((policy.kind, site), policy.declared) for policy, site in policies_of(self)]
        reach += [((kind, claim.site), claim.config) for (kind, _), claim in list(self._states.items())]
        return [(site, declared) for site, declared in reach if site[0] in KINDS]

    def _put_in_place(self, book: Book, must_match: Iterable[Setting] = ()) -> list[SettingsChanged]:
        reach = self._reach()
        for each in must_match:
            if not any(kind == each.kind and each.fits(name) for (kind, name), _ in reach):
                raise ValueError(f"{each.kind} {each.pattern!r} matches nothing (strict=True)")
        changes: dict[tuple[str, str], SettingsChanged] = {}
        for (kind, name), declared in reach:
            now, then = self.book.config(kind, name, declared), book.config(kind, name, declared)
            if now != then:
                changes.setdefault((kind, name), _difference(name, KINDS[kind], now, then))
        self.book = book
        if changes:
            for (kind, _), claim in list(self._states.items()):
                if (kind, claim.site) in changes:
                    claim.handle._reconfigure(book.config(kind, claim.site, claim.config))
            settle(changes.keys())
        return list(changes.values())

    def _told(self, changes: list[SettingsChanged]) -> list[SettingsChanged]:
        for each in changes:
            self.emit(each)
        return changes


def _from_file(path: Path) -> tuple[Setting, ...]:
    import tomllib

    name = os.path.basename(os.fspath(path))
    with open(path, "rb") as file:
        try:
            return settings_from(tomllib.load(file), name)
        except ValueError as error:  # what is no TOML, or no text, as well
            raise ValueError(f"{name}: {error}") from None


def _difference(name: str, kind: Any, now: Any, then: Any) -> SettingsChanged:
    before, after = flat(now, kind.changeable), flat(then, kind.changeable)
    names = [each for each in {**before, **after} if before.get(each) != after.get(each)]
    return SettingsChanged(
        name,
        kind.kind,
        {each: before.get(each) for each in names},
        {each: after.get(each) for each in names},
    )
