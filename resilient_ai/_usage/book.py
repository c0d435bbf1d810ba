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

from .runs import UsageRun

Price: TypeAlias = Callable[[str, Usage], float | None]

_MOST_MODELS = 50  # by call site; a name out of an answer may be anything
_MOST_ROWS = 1_000  # by call site; endpoints may be made for one request
_MOST_SITES = 10_000  # and so may functions
OTHER = "other"


@public("types")
@dataclass(frozen=True, slots=True)
class ModelUsage:
    """
    What one model used at one endpoint for one call site.

    Attributes:
        endpoint: Name of the endpoint; None where the call site has no endpoints. After 1,000 rows of a call site:
            "other".
        model: As the provider names it; None where nobody said. After 50 of a call site: "other".
        calls: Answers, those that were thrown away included.
        usage: Tokens of all of them.
        cost: USD of those that have a price; None where none has.
        without_usage: Answers whose tokens nobody told, or not all of them: streams that were left, say.
        without_price: Answers with tokens and no price.
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
    What one call site used; it iterates over its rows.

    Attributes:
        call_site: The decorated function.
        rows: One for each endpoint and model.
    """

    call_site: str
    rows: tuple[ModelUsage, ...] = ()

    @property
    def calls(self) -> int:
        """Answers, those that were thrown away included."""
        return sum(row.calls for row in self.rows)

    @property
    def usage(self) -> Usage:
        """Tokens of all rows."""
        return sum((row.usage for row in self.rows), Usage())

    @property
    def cost(self) -> float | None:
        """USD of the answers that have a price; None where none has."""
        known = [row.cost for row in self.rows if row.cost is not None]
        return sum(known) if known else None

    @property
    def without_usage(self) -> int:
        """Answers whose tokens nobody told, or not all of them."""
        return sum(row.without_usage for row in self.rows)

    @property
    def without_price(self) -> int:
        """Answers with tokens and no price."""
        return sum(row.without_price for row in self.rows)

    def __iter__(self) -> Iterator[ModelUsage]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return _table([self])


class _Sums:
    """One row, while it grows."""

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
        """Both together."""
        both = _Sums()
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(both, name, mine if theirs is None else theirs if mine is None else mine + theirs)
        return both

    def take(self, other: _Sums) -> None:
        """Add all of another row's."""
        both = self.plus(other)
        for name in self.__slots__:
            setattr(self, name, getattr(both, name))

    def told(self, endpoint: str | None, model: str | None) -> ModelUsage:
        """The row of this moment."""
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
    What the runs of one call site used.

    Args:
        call_site: The decorated function.
        book: Has the lock and the price.
    """

    def __init__(self, call_site: str, book: UsageBook) -> None:
        self._call_site = call_site
        self._book = book
        self._rows: _Rows = {}
        self._past: _Rows = {}  # up to the latest `clear`
        self._into: Account | None = None  # where it counts now that the book has no room for it

    def count(
        self, endpoint: str | None, model: str | None, usage: Usage | None, cost: float | None, whole: bool
    ) -> None:
        """Count one answer."""
        with self._book.lock:
            _row((self._into or self)._rows, endpoint, model).add(usage, cost, whole)

    def go_into(self, other: Account) -> None:
        """Hand over all sums, and count there from now on."""
        for mine, theirs in ((self._rows, other._rows), (self._past, other._past)):
            for at, sums in mine.items():
                _row(theirs, *at).take(sums)
        self._rows, self._past, self._into = {}, {}, other

    def told(self) -> CallSiteUsage:
        """The sums of this moment."""
        with self._book.lock:
            return CallSiteUsage(self._call_site, tuple(row.told(*at) for at, row in self._rows.items()))

    def ever(self) -> CallSiteUsage:
        """The sums since counting began, which `clear` takes nothing from."""
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
    What counts for one function.

    Args:
        account: That of its name, which other functions may have as well.
        book: Has the price.
        listeners: Who hears of its answers, and of no other function's.
    """

    __slots__ = ("_account", "_book", "_listeners")

    def __init__(self, account: Account, book: UsageBook, listeners: tuple[Callable[[Answer], object], ...]) -> None:
        self._account = account
        self._book = book
        self._listeners = listeners

    def run(self, endpoint: str | None) -> UsageRun:
        """A run of the function begins."""
        return UsageRun(self, endpoint)

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
    What one answer used, for those who listen.

    Attributes:
        model: None where nobody said.
        usage: None where nobody said.
        cost: USD; None without a price.
        whole: Whether the usage is all of it.
    """

    model: str | None
    usage: Usage | None
    cost: float | None
    whole: bool


@public("types")
class UsageBook(Mapping[str, CallSiteUsage]):
    """
    Tokens and money by call site; `registry.usage`.

    Counting begins when somebody first asks for `registry.usage`, sets `registry.price`, or puts a policy on a
    function that goes by usage. Before that, calls pay nothing for it. Ask once where the program starts.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._let_go: WeakValueDictionary[str, Account] = WeakValueDictionary()  # of functions that may still run
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
        """What counts for one function of this name, and who hears of its answers."""
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
        """What an answer cost in USD; None where nobody knows."""
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
        """The sums since counting began, which neither `clear` nor a reset takes anything from; for exporters."""
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
    """The book of a registry, which counts from now on."""
    with _counting:
        book = registry.meters
        if book is not None:
            return book  # type: ignore[no-any-return]
        book = registry.meters = UsageBook()
    set_mode(registry, metered=True)
    return book


_COLUMNS = ("call_site", "endpoint", "model", "calls", "input", "output", "cached", "reasoning", "usd", "unknown")
_LEFT = 3  # columns of text


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
