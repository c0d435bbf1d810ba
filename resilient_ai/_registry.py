"""The registry: the states of all policies, by kind and name, and as one table."""

from __future__ import annotations

import importlib
import os
import pkgutil
from importlib.util import find_spec
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ._core.loop_clients import close_clients
from ._core.opening import for_watchers, tell_watchers_with
from ._core.public import public
from ._core.report import Row
from ._core.settings import import_kinds_with
from ._core.state_store import StateStore, View, set_default_registry
from ._core.table import folded, html_table, text_table

if TYPE_CHECKING:
    from ._adaptive_limit.handle import AdaptiveLimit
    from ._batched.handle import Batcher
    from ._circuit_breaker.handle import CircuitBreaker
    from ._classified_retry.handle import Retry
    from ._core.handlers import Handler
    from ._degrade_to.handle import Degradation
    from ._failover.handle import EndpointHandle, Failover
    from ._fleet.join import FleetStore, Join
    from ._fleet.stats import FleetStats
    from ._rate_limit.handle import RateLimit
    from ._spend_limit.handle import SpendLimit
    from ._usage.book import Price, UsageBook


@public()
class Registry(StateStore):
    """
    The clock, the listeners and the states that all policies of a process share.

    Args:
        clock: `now()` and `async sleep(seconds)`; default the machine's monotonic clock.
        rng: Source of jitter and of random choices; default a new `random.Random`.
        listeners: Called with every event; default one structured log line each. `()` for none.
        max_server_wait: Most seconds for which a server's wait can close a circuit, an endpoint or a limit.
            Default an hour.
    """

    @property
    def circuit_breakers(self) -> View[CircuitBreaker]:
        return View(self._states, "circuit_breaker")

    @property
    def retries(self) -> View[Retry]:
        return View(self._states, "classified_retry")

    @property
    def batches(self) -> View[Batcher]:
        return View(self._states, "batched")

    @property
    def failovers(self) -> View[Failover]:
        return View(self._states, "failover")

    @property
    def limits(self) -> View[AdaptiveLimit]:
        return View(self._states, "adaptive_limit")

    @property
    def rate_limits(self) -> View[RateLimit]:
        return View(self._states, "rate_limit")

    @property
    def spend_limits(self) -> View[SpendLimit]:
        return View(self._states, "spend_limit")

    @property
    def endpoints(self) -> View[EndpointHandle]:
        return View(self._states, "endpoint")

    @property
    def degradations(self) -> View[Degradation]:
        return View(self._states, "degrade_to")

    @property
    def usage(self) -> UsageBook:
        """Tokens and money by call site, counted from the first use of this property on."""
        return _book_of(self)

    @property
    def price(self) -> Price | None:
        """
        `(model, Usage) -> USD or None`: the price of an answer, such as `genai_prices()`; None: prices are unknown.
        """
        return None if self.meters is None else _book_of(self).price

    @price.setter
    def price(self, price: Price | None) -> None:
        if price is not None and not callable(price):
            raise TypeError(f"registry.price must be a function of (model, Usage) or None, got {price!r}")
        _book_of(self).price = price

    def reset(self) -> None:
        """Reset every state. Decorated functions keep working."""
        super().reset()
        if self.meters is not None:
            _book_of(self).clear()

    def join(self, store: FleetStore) -> Join:
        """
        Join a fleet of workers, which share what one of them learns about a common credential.

        Entering takes no time and never fails, whether the server answers or not; leaving takes at most a second.
        Functions may be decorated before or after. A forked child is not in the fleet.

        Args:
            store: The connection between the workers, such as a `resilient_ai.redis.RedisStore`.

        Returns:
            A context manager, plain or async, that gives a `Fleet`. In a plain `with` it runs in a thread of its own.

        Raises:
            ValueError: On entering: this registry has already joined a fleet.
        """
        from ._fleet.join import Join

        return Join(self, store)

    @property
    def fleet(self) -> FleetStats:
        """The numbers of the fleet; `joined` is False without one."""
        from ._fleet.membership import Membership
        from ._fleet.stats import FleetStats

        return self.sharing.stats() if isinstance(self.sharing, Membership) else FleetStats()

    def error_stats(self) -> dict[str, Any]:
        """Errors seen by retries: `error_counts` per function and type, `total_errors`, `functions_with_errors`."""
        counts = {name: dict(retry.stats().error_counts) for name, retry in self.retries.items()}
        counts = {name: errors for name, errors in counts.items() if errors}
        return {
            "error_counts": counts,
            "total_errors": sum(sum(errors.values()) for errors in counts.values()),
            "functions_with_errors": len(counts),
        }

    async def aclose(self) -> None:
        """Close the endpoints' clients in the running event loop; later calls open new ones."""
        await close_clients()

    # -- the table

    def rows(self) -> list[Row]:
        """One row for each state: call sites in the order of decoration, each from the outermost policy inwards."""
        return [row for rows in self._sites() for row in rows]

    def _sites(self) -> list[list[Row]]:
        sites: dict[str, list[tuple[float, Any]]] = {}
        for (kind, name), claim in list(self._states.items()):
            sites.setdefault(name.partition("[")[0], []).append((self._ranks[kind], claim.handle))
        return [[handle.row() for _, handle in sorted(site, key=itemgetter(0))] for site in sites.values()]

    def __repr__(self) -> str:
        sites = self._sites()
        table = text_table(folded(sites)) if sites else "<Registry: nothing decorated yet>"
        return table if (line := self._fleet_line()) is None else f"{table}\n{line}"

    def _fleet_line(self) -> str | None:
        if self.sharing is None:
            return None
        from ._fleet.join import shown

        return f"fleet {shown(self.fleet)}"

    def _repr_html_(self) -> str:
        return html_table(folded(self._sites()), self._fleet_line())


def _import_policies() -> None:
    """Import every policy, for code that needs all of them: some are imported on first use only."""
    for folder in pkgutil.iter_modules([os.path.dirname(__file__)]):
        if folder.ispkg and find_spec(decorator := f"{__package__}.{folder.name}.decorator") is not None:
            importlib.import_module(decorator)


import_kinds_with(_import_policies)
# The code that reads tokens is imported on first use: not every program counts or watches.


def _book_of(registry: Registry) -> UsageBook:
    return importlib.import_module("._usage.book", __package__).book_of(registry)  # type: ignore[no-any-return]


def _for_the_first_watcher(handler: Handler) -> Handler:
    importlib.import_module("._usage.runs", __package__)  # which replaces this function
    return for_watchers(handler)


tell_watchers_with(_for_the_first_watcher)

registry = Registry()
set_default_registry(registry)
if path := os.environ.get("RESILIENT_AI_CONFIG", "").strip():
    registry.load(path)
if os.environ.get("RESILIENT_AI_DISABLED", "").strip().lower() in ("1", "true", "yes", "on"):
    registry.disable()
