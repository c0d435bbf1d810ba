"""
What a policy is: something that is bound once to what lies below it, and then is one async function.

The whole stack of a decorated function is folded at decoration. A policy that chooses among endpoints binds what lies
below it once for each; that is how a state below it becomes one state per endpoint, without being told.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pickle import PicklingError
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from .callables import needs_async
from .claim import Handle
from .handlers import Handler
from .settings import KINDS, replaced
from .state_name import StateName
from .state_store import default_registry

if TYPE_CHECKING:
    import inspect

    from .callables import Place, SeenSignature
    from .commit_point import Commits
    from .fast_path import FastPath
    from .state_store import StateStore

S = TypeVar("S", bound=Handle)


@dataclass(frozen=True, slots=True)
class Site:
    """Where a policy stands: the decorated function, and the endpoint where a policy above chooses among several."""

    function: str
    place: Place | None = None
    seen: SeenSignature | None = None  # the function's signature, for a policy that needs it
    endpoint: str | None = None
    streaming: bool = False  # whether the function yields its items
    plain: bool = False  # whether the function blocks its caller, and is not awaited
    spare: bool = False  # whether the policy above has another endpoint to ask
    handed: object = None  # the endpoint itself, which the policy above hands in

    @property
    def signature(self) -> inspect.Signature | None:
        """The function's, as the policy's caller sees it; None when Python cannot tell, or nobody needs it."""
        return None if self.seen is None else self.seen.found


class Policy(ABC, Generic[S]):
    """
    One layer of one decorated function.

    A decorator makes a new policy for every function it is put on; policies of one name share one state.

    A subclass says about itself what people see of its kind, and which stacks are wrong.

    Attributes:
        kind: The decorator's name.
        rank: Place in the recommended order, the outermost policy lowest; the registry's table goes by it. A kind
            without one comes last.
        not_outside: For each kind that should not be below this one, what goes wrong if it is:
            "this outside that *counts a whole loop of attempts as one failure*". Of the own kind also what to do:
            "two of them *multiply their attempts; keep one*".
        not_inside: What goes wrong for every other kind outside this one, in the same form; or for each kind that
            should not be.
        twice: What two layers that share one state do to each call: "*count each failure twice in it*".
    """

    kind: ClassVar[str]
    rank: ClassVar[float] = math.inf
    not_outside: ClassVar[Mapping[str, str]] = {}
    not_inside: ClassVar[Mapping[str, str] | str | None] = None
    twice: ClassVar[str | None] = None
    per_endpoint: ClassVar[bool] = False  # below a choice among endpoints: one state for each
    answers_itself: ClassVar[bool] = False  # gives answers of its own in the function's place
    measures: ClassVar[bool] = False  # hands on how long each call of the function took
    needs_signature: ClassVar[bool] = False  # asks its site for the function's
    injects_argument: ClassVar[bool] = False  # hands an argument to the layer below that the caller does not pass
    changeable: ClassVar[tuple[str, ...]] = ()  # settings that `registry.configure` can change
    commits: Commits | None = None  # which items of a stream are content, for the whole stack

    def __init__(self, name: Any, config: Any, registry: StateStore) -> None:
        if name is not None and (not isinstance(name, str) or not name):
            article = "an" if self.kind.startswith("a") else "a"
            hint = "" if isinstance(name, str) else "; settings are given by keyword"
            raise ValueError(f"name of {article} {self.kind} must be a non-empty string, got {name!r}{hint}")
        self.name: str | None = name
        self.config = config
        self.registry = registry
        self._states: tuple[S, ...] = ()  # nearly always one, for which a dict would take four times the room

    def __init_subclass__(cls) -> None:
        if (kind := vars(cls).get("kind")) is not None:
            KINDS.setdefault(kind, cls)

    @abstractmethod
    def make_state(self, name: str) -> S:
        """A fresh state; the registry keeps it."""

    @abstractmethod
    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        """
        Make the function that runs this layer.

        Args:
            bind_inner: Binds what lies below for a site; a policy with several endpoints asks once for each, the
                others once.
            site: Where this layer stands.
        """

    def add_to_fast_path(self, path: FastPath, site: Site) -> bool:  # noqa: ARG002
        """
        Say what this layer does while nothing is wrong, once the stack has been bound.

        Returns:
            False when this layer always has something to decide, so that the stack has no fast path.
        """
        return False

    def answer_listener(self, site: Site) -> Callable[[Any], object] | None:  # noqa: ARG002
        """Who wants to hear what each answer of the function used; that is one listener of this function alone."""
        return None

    def check_plain(self, function: Any) -> None:
        """
        Refuse plain functions, unless this layer says otherwise.

        Args:
            function: What was decorated.

        Raises:
            TypeError: Its calls have to be awaited.
        """
        raise needs_async(function, self.kind)

    def check_streaming(self, function: str) -> None:
        """
        Refuse generator functions, where this layer cannot stand above one.

        Raises:
            TypeError: It cannot.
        """

    @property
    def needs_own_task(self) -> bool | None:
        """
        Whether a stream below this layer has to run in a task of its own, from its first item to its last.

        None: only where time limits are cancel scopes, whatever the clock.
        """
        return False

    @property
    def changes_signature(self) -> bool:
        """Whether this layer's caller passes or gets something else than what is below says."""
        return self.injects_argument or type(self).shown is not Policy.shown

    def shown(self, parameters: list[inspect.Parameter], returned: Any) -> tuple[list[inspect.Parameter], Any]:
        """Parameters (without self) and return annotation as this layer's caller sees them."""
        return parameters, returned

    def state(self, site: Site) -> S:
        """The state for a site, claimed in the registry on first use."""
        name = self.state_name(site)
        if (known := self._known(name)) is not None:
            return known
        state = self.registry.claim(
            self.kind,
            name,
            self.declared,
            lambda: self.make_state(name),
            replace=self.name is None,
            rank=self.rank,
            place=site.place,
        )
        self._states = (*self._states, state)
        return state

    def _known(self, name: str) -> S | None:
        return next((state for state in self._states if state.name == name), None)

    def state_name(self, site: Site) -> str:
        name = self.name or site.function
        if self.per_endpoint and site.endpoint is not None:
            return StateName(f"{name}[{site.endpoint}]", name, site.endpoint)
        return StateName(name, name) if "[" in name else name  # a plain name takes less room

    def shares_state(self, other: Policy[Any], site: Site) -> bool:
        """Whether a call through both of these layers of one kind, at one site, meets one state twice."""
        return self.state_name(site) == other.state_name(site)

    def release(self, site: Site) -> None:
        """Give back a claim that is not needed: a policy came on top, and there is one state per endpoint now."""
        if self.per_endpoint and (known := self._known(name := self.state_name(site))) is not None:
            self._states = tuple(state for state in self._states if state is not known)
            self.registry.release(self.kind, name)

    def switched_off(self, call: Callable[..., Any], site: Site, skip: int) -> Callable[..., Any]:  # noqa: ARG002
        """
        What a call runs while the registry is switched off.

        Args:
            call: What lies below.
            site: Where this layer stands.
            skip: How many arguments lead: an instance, and what policies above hand in.
        """
        return call

    def in_test(self, attempts: int) -> Self | None:  # noqa: ARG002
        """
        This policy, which is a copy, as `registry.testing(attempts=)` wants it; None: not at all.

        Args:
            attempts: How many are made at most.
        """
        return self

    def remade(self, registry: StateStore) -> Self:
        """A policy with the same name and settings and a state in another registry."""
        make: Callable[..., Self] = type(self)
        return make(self.name, self.declared, registry, **self.options())

    # -- settings that are changed while the program runs

    @property
    def declared(self) -> Any:
        """The settings as the decorator has them, which tell call sites of one name apart."""
        return self.config if self._declared is None else self._declared

    def with_config(self, config: Any) -> Self:
        """This policy with other settings and the same states."""
        twin = self.__copy__()
        twin._declared, twin.config = self.declared, config
        return twin

    @classmethod
    def default_config(cls) -> Any:
        """The settings of a decorator that was given none."""
        raise NotImplementedError(f"{cls.kind} has settings that can be changed, and no default_config()")

    @classmethod
    def changed(cls, config: Any, changes: Mapping[str, Any]) -> Any:
        """
        Other settings, which check themselves.

        Args:
            config: The settings so far.
            changes: New values by name.

        Raises:
            TypeError: A value is of another kind.
            ValueError: A value is none that the setting can have.
        """
        return replaced(config, changes)

    def options(self) -> dict[str, Any]:
        """The arguments that it was made with, besides name, config and registry."""
        return {}

    _declared: Any = None  # of a policy whose settings were changed
    _for_fast_path: dict[str | None, Any] | None = None

    def keep_for_fast_path(self, site: Site, what: Any) -> None:
        """Keep what `bind` has made for a site until `add_to_fast_path` takes it."""
        if self._for_fast_path is None:
            self._for_fast_path = {}
        self._for_fast_path[site.endpoint] = what

    def take_for_fast_path(self) -> dict[str | None, Any]:
        """What was kept, of the stack that was bound last, by endpoint. It is needed once, and takes room."""
        kept, self._for_fast_path = self._for_fast_path, None
        return kept or {}

    def __copy__(self) -> Self:
        """The same policy, with the same states; it has not been bound yet."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        if self._for_fast_path is not None:
            twin._for_fast_path = None
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        if self.registry is not default_registry():
            raise PicklingError(
                f"{self.kind} {self.name or ''!r} is in a registry of its own, which stays in this process;"
                " use the default registry, or decorate the function where it arrives"
            )
        return _arrived, (type(self), self.name, self.declared, self.options())

    def status(self) -> str:
        """Live state in a few words, of all states that this layer uses."""
        rows = ((state.name, state.row()) for state in self._states)
        return ", ".join(f"{name!r} {row.state}" if row.state else repr(name) for name, row in rows)


def _arrived(cls: type[Policy[Any]], name: str | None, config: Any, options: dict[str, Any]) -> Policy[Any]:
    """A policy out of a pickle: by name and settings, with a state of this process."""
    make: Callable[..., Policy[Any]] = cls
    return make(name, config, default_registry(), **options)
