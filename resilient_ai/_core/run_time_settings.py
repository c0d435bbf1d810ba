"""Change settings at run time: a change is checked completely, then applied; states stay."""

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
    _file: Path | None = None  # the latest loaded file

    if TYPE_CHECKING:  # attributes of the registry that this part uses
        _states: dict[tuple[str, str], KeyClaim]
        _lock: threading.RLock

        def emit(self, event: Event) -> None: ...

    def configure(
        self, settings: Mapping[str, Mapping[str, Mapping[str, Any]]], *, strict: bool = False
    ) -> list[SettingsChanged]:
        """
        Change settings while calls run.

        States stay: counts, open periods, budgets, learned limits. Calls in flight end as they began. The settings are
        added to those of earlier calls; `unset` removes them. If several values apply to a call site, an exact name
        takes precedence over a pattern, a later value over an earlier one, and this method over a file.

        Args:
            settings: {call site: {policy: {setting: value}}}. A call site is named as in the registry's table,
                without brackets, or by a pattern with `*` and `?`; one that does not exist yet is changed when it is
                decorated. A policy has the name of its decorator. A nested setting is one more mapping:
                `{"rules": {"rate_limit": {"max_retries": 2}, "timeout": None}}`.
            strict: Whether to refuse call sites that do not exist yet. Default False.

        Returns:
            The changes, one for each call site and policy; each is also sent as an event.

        Raises:
            ValueError: A policy or setting that does not exist, or a bad value. Then nothing has changed.
        """
        new = settings_from(settings, CONFIGURED)
        with self._lock:
            changes = self._put_in_place(self.book.adding(new), must_match=new if strict else ())
        return self._told(changes)

    def unset(self, *patterns: str) -> list[SettingsChanged]:
        """
        Remove what `configure` has set.

        Args:
            *patterns: Call sites, or patterns as they were given. Default: all.

        Returns:
            The changes.

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

        A table is named after a call site and has one table for each policy; a name with dots or a `*` needs quotes.
        `false` stands for None. The file is not watched; call this again when it has changed, for example on SIGHUP.

        Args:
            path: The file. Default: the latest loaded file, at first the one that `RESILIENT_AI_CONFIG` in the
                environment names.
            strict: Whether to refuse call sites that do not exist yet. Default False.

        Returns:
            The changes.

        Raises:
            OSError: The file cannot be read. Then nothing has changed.
            ValueError: It is not TOML, names a policy or setting that does not exist, or has a bad value; or there is
                no file to load again. Then nothing has changed.
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
        """Every value that was set at run time, the weakest first, with the call sites that it matches."""
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
        """Kind and name of everything that settings can change, each with the settings of its decorator."""
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
        except ValueError as error:  # also for files that are not TOML, or not text
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
