"""`registry.usage`: tokens and money by call site, endpoint and model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from resilient_ai._core.forks import start_over_after_fork
from resilient_ai._core.log import log
from resilient_ai._core.modes import set_mode
from resilient_ai._core.printable import printable
from resilient_ai._core.public import public
from resilient_ai._core.table import as_shown
from resilient_ai._core.usage import Usage
from resilient_ai._core.watched import current_run

from .runs import UsageRun

Price: TypeAlias = Callable[[str, Usage], float | None]

_MOST_MODELS = 50  # most models per call site; a name from an answer may be anything
_MOST_ROWS = 1_000  # most rows per call site; endpoints may be made for one request
_MOST_SITES = 10_000  # most call sites; functions may be made for one request, too
OTHER = "other"


@public("types")
@dataclass(frozen=True, slots=True)
class ModelUsage:
    """
    The usage of one model at one endpoint by one call site.

    Attributes:
        endpoint: Name of the endpoint; None if the call site has no endpoints. After 1,000 rows of a call site:
            "other".
        model: Name of the model, as the provider gives it; None if unknown. After 50 models of a call site: "other".
        calls: Number of answers, including discarded ones.
        usage: Tokens of all of them.
        cost: USD of those with a price; None if none has a price.
        without_usage: Answers whose tokens are unknown or incomplete, for example streams that were left.
        without_price: Answers with tokens but without a price.
    """

    endpoint: str | None
    model: str | None
    calls: int
    usage: Usage
    cost: float | None
    without_usage: int
    without_price: int


@public("types")
@dataclass(frozen=True, slots=True, repr=False)
class CallSiteUsage:
    """
    The usage of one call site; it iterates over its rows.

    Attributes:
        call_site: The decorated function.
        rows: One row for each endpoint and model.
    """

    call_site: str
    rows: tuple[ModelUsage, ...] = ()

    @property
    def calls(self) -> int:
        """Number of answers, including discarded ones."""
        return sum(row.calls for row in self.rows)

    @property
    def usage(self) -> Usage:
        """Tokens of all rows."""
        return sum((row.usage for row in self.rows), Usage())

    @property
    def cost(self) -> float | None:
        """USD of the answers with a price; None if none has a price."""
        known = [row.cost for row in self.rows if row.cost is not None]
        return sum(known) if known else None

    @property
    def without_usage(self) -> int:
        """Answers whose tokens are unknown or incomplete."""
        return sum(row.without_usage for row in self.rows)

    @property
    def without_price(self) -> int:
        """Answers with tokens but without a price."""
        return sum(row.without_price for row in self.rows)

    def __iter__(self) -> Iterator[ModelUsage]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return _table([self])


class _Sums:
    """The sums of one row."""

    __slots__ = ("calls", "cost", "input", "output", "read", "reasoning", "without_price", "without_usage", "written")

    def __init__(self) -> None:
        self.calls = self.without_usage = self.without_price = 0
        self.input = self.output = self.read = self.written = self.reasoning = 0
        self.cost: float | None = None

    def add(self, usage: Usage | None, cost: float | None, whole: bool) -> None:
        """Count one answer."""
        self.calls += 1
        if usage is None or not whole:
            self.without_usage += 1
        if usage is None:
            return
        self.input += usage.input_tokens
        self.output += usage.output_tokens
        self.read += usage.cache_read_tokens
        self.written += usage.cache_write_tokens
        self.reasoning += usage.reasoning_tokens
        if cost is None:
            self.without_price += 1
        else:
            self.cost = cost if self.cost is None else self.cost + cost

    def plus(self, other: _Sums) -> _Sums:
        """The sums of both rows."""
        both = _Sums()
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(both, name, mine if theirs is None else theirs if mine is None else mine + theirs)
        return both

    def take(self, other: _Sums) -> None:
        """Add the sums of another row."""
        both = self.plus(other)
        for name in self.__slots__:
            setattr(self, name, getattr(both, name))

    def told(self, endpoint: str | None, model: str | None) -> ModelUsage:
        """The present row."""
        usage = Usage(self.input, self.output, self.read, self.written, self.reasoning)
        return ModelUsage(endpoint, model, self.calls, usage, self.cost, self.without_usage, self.without_price)


_Rows: TypeAlias = dict[tuple[str | None, str | None], _Sums]  # by endpoint and model


def _row(rows: _Rows, endpoint: str | None, model: str | None) -> _Sums:
    at = endpoint, model
    if at not in rows and len(rows) >= _MOST_MODELS:
        models = {known for _, known in rows}  # one model may be at many endpoints
        if model not in models and len(models) >= _MOST_MODELS:
            at = endpoint, OTHER
    if at not in rows and len(rows) >= _MOST_ROWS:
        at = OTHER, OTHER
    return rows.setdefault(at, _Sums())


class Account:
    """
    The usage of the runs of one call site.

    Args:
        call_site: The decorated function.
        book: The book, which has the lock and the price.
    """

    def __init__(self, call_site: str, book: UsageBook) -> None:
        self._call_site = call_site
        self._book = book
        self._rows: _Rows = {}
        self._past: _Rows = {}  # sums up to the latest `clear`
        self._into: Account | None = None  # the account that counts for this one, if the book is full

    def count(
        self, endpoint: str | None, model: str | None, usage: Usage | None, cost: float | None, whole: bool
    ) -> None:
        """Count one answer."""
        with self._book.lock:
            _row((self._into or self)._rows, endpoint, model).add(usage, cost, whole)

    def go_into(self, other: Account) -> None:
        """Move all sums to another account, and count there from now on."""
        for mine, theirs in ((self._rows, other._rows), (self._past, other._past)):
            for at, sums in mine.items():
                _row(theirs, *at).take(sums)
        self._rows, self._past, self._into = {}, {}, other

    def told(self) -> CallSiteUsage:
        """The present sums."""
        with self._book.lock:
            return CallSiteUsage(self._call_site, tuple(row.told(*at) for at, row in self._rows.items()))

    def ever(self) -> CallSiteUsage:
        """The sums since counting began, which `clear` does not change."""
        with self._book.lock:
            return CallSiteUsage(self._call_site, tuple(row.told(*at) for at, row in self._all().items()))

    def _all(self) -> _Rows:
        found = dict(self._past)
        for at, row in self._rows.items():
            found[at] = row.plus(found[at]) if at in found else row
        return found

    def clear(self) -> None:
        """Forget the sums."""
        with self._book.lock:
            self._past, self._rows = self._all(), {}


class FunctionMeter:
    """
    The meter of one function.

    Args:
        account: The account of its name, which other functions may share.
        book: The book, which has the price.
        listeners: Called with the answers of this function only.
    """

    __slots__ = ("_account", "_book", "_listeners")

    def __init__(self, account: Account, book: UsageBook, listeners: tuple[Callable[[Answer], object], ...]) -> None:
        self._account = account
        self._book = book
        self._listeners = listeners

    def run(self, endpoint: str | None) -> UsageRun:
        """Begin a run of the function."""
        return UsageRun(self, endpoint, current_run())

    def used(
        self,
        endpoint: str | None,
        model: str | None,
        usage: Usage | None,
        *,
        whole: bool = True,
        heard: set[Any] | None = None,
    ) -> None:
        """Count one answer."""
        cost = self._book.price_of(model, usage) if usage is not None else None
        if heard is None or self._account not in heard:  # a function may call itself
            self._account.count(endpoint, model, usage, cost, whole)
        if heard is not None:
            heard.add(self._account)
        for listener in self._listeners:
            if heard is not None:
                if listener in heard:
                    continue
                heard.add(listener)
            listener(Answer(model, usage, cost, whole))


@dataclass(frozen=True, slots=True)
class Answer:
    """
    The usage of one answer, for listeners.

    Attributes:
        model: The model; None if unknown.
        usage: The tokens; None if unknown.
        cost: USD; None without a price.
        whole: Whether the usage is complete.
    """

    model: str | None
    usage: Usage | None
    cost: float | None
    whole: bool


@public("types")
class UsageBook(Mapping[str, CallSiteUsage]):
    """
    Tokens and money by call site; `registry.usage`.

    Counting begins when `registry.usage` is first read, `registry.price` is set, or a policy that needs usage is put on
    a function. Before that, it costs calls nothing. Read it once when the program starts.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        # Dropped accounts of functions that may still run.
        self._let_go: WeakValueDictionary[str, Account] = WeakValueDictionary()
        self._failed_prices: set[str] = set()
        self.price: Price | None = None
        self.lock = threading.RLock()  # reentrant: a signal handler may read the sums
        start_over_after_fork(self)

    def _after_fork(self) -> None:
        self.lock = threading.RLock()

    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]

    def __eq__(self, other: object) -> bool:
        return self is other

    def meter(self, call_site: str, listeners: tuple[Callable[[Answer], object], ...] = ()) -> FunctionMeter:
        """The meter of one function of this name, with the listeners to its answers."""
        return FunctionMeter(self._account_of(call_site), self, listeners)

    def _account_of(self, call_site: str) -> Account:
        with self.lock:
            account = self._accounts.get(call_site) or self._let_go.get(call_site)
            if account is None:
                account = self._accounts[call_site] = Account(call_site, self)
                if len(self._accounts) > _MOST_SITES:
                    self._let_oldest_go()
            return account

    def _let_oldest_go(self) -> None:
        others = self._accounts.setdefault(OTHER, Account(OTHER, self))
        oldest = next(name for name in self._accounts if name != OTHER)
        account = self._let_go[oldest] = self._accounts.pop(oldest)
        account.go_into(others)

    def price_of(self, model: str | None, usage: Usage) -> float | None:
        """The cost of an answer in USD; None if unknown."""
        if self.price is None or model is None:
            return None
        try:
            cost = self.price(model, usage)
            return None if cost is None else float(cost)
        except Exception as error:  # noqa: BLE001 - a price of the user's own must not lose an answer
            kind = type(error).__name__
            if kind not in self._failed_prices:
                self._failed_prices.add(kind)
                log("warning", "resilient_ai.price_failed", model=model, error_type=kind)
            return None

    def ever(self) -> list[CallSiteUsage]:
        """The sums since counting began, for exporters; neither `clear` nor a reset changes them."""
        return [account.ever() for account in list(self._accounts.values())]

    def clear(self) -> None:
        """Forget all sums."""
        with self.lock:
            accounts = list(self._accounts.values())
        for account in accounts:
            account.clear()

    def __getitem__(self, call_site: str) -> CallSiteUsage:
        for name, account in list(self._accounts.items()):
            if call_site in (name, as_shown(name)):
                return account.told()
        known = ", ".join(map(repr, list(self._accounts)[:20])) or "none yet"
        raise KeyError(f"no call site named {call_site!r} whose usage is counted; there are: {known}")

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, account in list(self._accounts.items()) if account.told().rows])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return _table([self[name] for name in self]) if self else "no usage yet"


_counting = threading.Lock()


def book_of(registry: Any) -> UsageBook:
    """The book of a registry, which starts to count now if it did not before."""
    with _counting:
        book = registry.meters
        if book is not None:
            return book  # type: ignore[no-any-return]
        book = registry.meters = UsageBook()
    set_mode(registry, metered=True)
    return book


_COLUMNS = ("call_site", "endpoint", "model", "calls", "input", "output", "cached", "reasoning", "usd", "unknown")
_LEFT = 3  # number of text columns, aligned to the left


def _table(sites: list[CallSiteUsage]) -> str:
    lines = [list(_COLUMNS)] + [_line(site.call_site, row) for site in sites for row in site]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column < _LEFT else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _line(call_site: str, row: ModelUsage) -> list[str]:
    unknown = row.without_usage + (row.without_price if row.cost is not None else 0)
    numbers = [row.calls, row.usage.input_tokens, row.usage.output_tokens]
    numbers += [row.usage.cache_read_tokens, row.usage.reasoning_tokens]
    return [
        printable(as_shown(call_site)),
        printable(row.endpoint or ""),
        printable(row.model or "?"),
        *(f"{number:,}" for number in numbers),
        "?" if row.cost is None else f"{row.cost:.6f}",
        f"{unknown:,}" if unknown else "",
    ]
