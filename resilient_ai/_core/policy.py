"""
The base class of policies. A policy is bound once to the layers below it, and then is one async function.

The whole stack of a decorated function is folded at decoration. A policy that chooses among endpoints binds the layers
below it once for each endpoint; thereby a state below it becomes one state per endpoint.
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
from .kinds import kind_of
from .settings import KINDS, replaced
from .state_name import StateName
from .state_store import StateStore, default_registry

if TYPE_CHECKING:
    import inspect

    from .callables import Place, SeenSignature
    from .commit_point import Commits
    from .fast_path import FastPath

S = TypeVar("S", bound=Handle)


@dataclass(frozen=True, slots=True)
class Site:
    """The call site of a policy: the decorated function, and the endpoint if a policy above chooses among several."""

    function: str
    place: Place | None = None
    seen: SeenSignature | None = None  # the function's signature, if a policy needs it
    endpoint: str | None = None
    streaming: bool = False  # whether the function yields its items
    plain: bool = False  # whether the function is plain: it blocks its caller
    alternative: bool = False  # whether the policy above has another endpoint to ask
    handed: object = None  # the endpoint itself, which the policy above hands in

    @property
    def signature(self) -> inspect.Signature | None:
        """The signature for the policy's caller; None when Python cannot tell, or if no policy needs it."""
        return None if self.seen is None else self.seen.found


class Policy(ABC, Generic[S]):
    """
    One layer of one decorated function.

    A decorator makes a new policy for every function that it is put on; policies of one name share one state.

    A subclass declares how its kind is shown, and which stacks are wrong.

    Attributes:
        kind: The decorator's name.
        rank: Place in the recommended order, which is also that of the registry's table; the outermost policy is
            lowest. A kind without a rank comes last.
        not_outside: For each kind that should not be below this one, what goes wrong otherwise:
            "this outside that *counts a whole loop of attempts as one failure*". For its own kind also what to do:
            "two of them *multiply their attempts; keep one*".
        not_inside: What goes wrong with any other kind outside this one, in the same form; or by kind.
        twice: What two layers that share one state do to each call: "*count each failure twice in it*".
    """

    kind: ClassVar[str]
    rank: ClassVar[float] = math.inf
    not_outside: ClassVar[Mapping[str, str]] = {}
    not_inside: ClassVar[Mapping[str, str] | str | None] = None
    twice: ClassVar[str | None] = None
    per_endpoint: ClassVar[bool] = False  # one state for each endpoint, below a choice among endpoints
    answers_itself: ClassVar[bool] = False  # may answer in place of the function
    measures: ClassVar[bool] = False  # reports the duration of each call of the function
    needs_signature: ClassVar[bool] = False  # uses the signature of its site
    injects_argument: ClassVar[bool] = False  # passes an argument to the layer below that the caller does not pass
    changeable: ClassVar[tuple[str, ...]] = ()  # settings that `registry.configure` can change
    commits: Commits | None = None  # which items of a stream are content, for the whole stack

    def __init__(self, name: Any, config: Any, registry: StateStore) -> None:
        if name is not None and (not isinstance(name, str) or not name):
            article = "an" if self.kind.startswith("a") else "a"
            hint = "" if isinstance(name, str) else "; settings are given by keyword"
            raise ValueError(f"name of {article} {self.kind} must be a non-empty string, got {name!r}{hint}")
        if not isinstance(registry, StateStore):
            raise ValueError(f"registry must be a Registry, got {kind_of(registry)}")
        self.name: str | None = name
        self.config = config
        self.registry = registry
        self._states: tuple[S, ...] = ()  # nearly always one; a dict would need four times the memory

    def __init_subclass__(cls) -> None:
        if (kind := vars(cls).get("kind")) is not None:
            KINDS.setdefault(kind, cls)

    @abstractmethod
    def make_state(self, name: str) -> S:
        """Make a new state, which the registry keeps."""

    @abstractmethod
    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        """
        Make the function that runs this layer.

        Args:
            bind_inner: Binds the layers below for a site; a policy with several endpoints calls it once for each, other
                policies once.
            site: The call site of this layer.
        """

    def add_to_fast_path(self, path: FastPath, site: Site) -> bool:  # noqa: ARG002
        """
        Add this layer's part to the fast path, after the stack has been bound.

        Returns:
            False if this layer always has to decide something, so that the stack has no fast path.
        """
        return False

    def answer_listener(self, site: Site) -> Callable[[Any], object] | None:  # noqa: ARG002
        """A listener for the usage of each answer of this function; None if the layer needs none."""
        return None

    def check_plain(self, function: Any) -> None:
        """
        Refuse plain functions, unless a subclass allows them.

        Args:
            function: The decorated object.

        Raises:
            TypeError: The policy needs calls that are awaited.
        """
        raise needs_async(function, self.kind)

    def check_streaming(self, function: str) -> None:
        """
        Refuse generator functions, if this layer cannot handle them.

        Raises:
            TypeError: It cannot.
        """

    @property
    def needs_own_task(self) -> bool | None:
        """
        Whether a stream below this layer has to run in a task of its own, from its first item to its last.

        None: only if time limits are cancel scopes.
        """
        return False

    @property
    def changes_signature(self) -> bool:
        """Whether arguments or result differ between this layer's caller and the layers below."""
        return self.injects_argument or type(self).shown is not Policy.shown

    def shown(self, parameters: list[inspect.Parameter], returned: Any) -> tuple[list[inspect.Parameter], Any]:
        """The parameters (without self) and the return annotation for this layer's caller."""
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
        return StateName(name, name) if "[" in name else name  # a plain name needs less memory

    def shares_state(self, other: Policy[Any], site: Site) -> bool:
        """Whether two layers of one kind, at one site, use the same state, so that each call uses it twice."""
        return self.state_name(site) == other.state_name(site)

    def release(self, site: Site) -> None:
        """Give back a claim that is no longer needed, because a policy on top has made it one state per endpoint."""
        if self.per_endpoint and (known := self._known(name := self.state_name(site))) is not None:
            self._states = tuple(state for state in self._states if state is not known)
            self.registry.release(self.kind, name)

    def switched_off(self, call: Callable[..., Any], site: Site, skip: int) -> Callable[..., Any]:  # noqa: ARG002
        """
        The function that a call runs while the registry is switched off.

        Args:
            call: The layer below.
            site: The call site of this layer.
            skip: Number of leading arguments: an instance, and those that policies above pass.
        """
        return call

    def in_test(self, attempts: int) -> Self | None:  # noqa: ARG002
        """
        Prepare this policy, which is a copy, for `registry.testing(attempts=)`; None: leave it out.

        Args:
            attempts: Most attempts.
        """
        return self

    def remade(self, registry: StateStore) -> Self:
        """A policy with the same name and settings, and a state in another registry."""
        make: Callable[..., Self] = type(self)
        return make(self.name, self.declared, registry, **self.options())

    # -- settings that are changed at run time

    @property
    def declared(self) -> Any:
        """The settings of the decorator, which call sites of one name must share."""
        return self.config if self._declared is None else self._declared

    def with_config(self, config: Any) -> Self:
        """This policy with other settings and the same states."""
        twin = self.__copy__()
        twin._declared, twin.config = self.declared, config
        return twin

    @classmethod
    def default_config(cls) -> Any:
        """The settings of a decorator without arguments."""
        raise NotImplementedError(f"{cls.kind} has settings that can be changed, and no default_config()")

    @classmethod
    def changed(cls, config: Any, changes: Mapping[str, Any]) -> Any:
        """
        Changed settings, which are checked.

        Args:
            config: The present settings.
            changes: New values by name.

        Raises:
            TypeError: A value is of a wrong type.
            ValueError: A value is not legal for its setting.
        """
        return replaced(config, changes)

    def options(self) -> dict[str, Any]:
        """The arguments that it was made with, besides name, config and registry."""
        return {}

    _declared: Any = None  # the decorator's settings, if they were changed
    _for_fast_path: dict[str | None, Any] | None = None

    def keep_for_fast_path(self, site: Site, what: Any) -> None:
        """Keep an object that `bind` has made for a site, until `add_to_fast_path` takes it."""
        if self._for_fast_path is None:
            self._for_fast_path = {}
        self._for_fast_path[site.endpoint] = what

    def take_for_fast_path(self) -> dict[str | None, Any]:
        """Take the objects kept for the stack that was bound last, by endpoint; they are not kept any longer."""
        kept, self._for_fast_path = self._for_fast_path, None
        return kept or {}

    def __copy__(self) -> Self:
        """A copy of the policy with the same states, not yet bound."""
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
        """The live state, in a few words, of all states that this layer uses."""
        rows = ((state.name, state.row()) for state in self._states)
        return ", ".join(f"{name!r} {row.state}" if row.state else repr(name) for name, row in rows)


def _arrived(cls: type[Policy[Any]], name: str | None, config: Any, options: dict[str, Any]) -> Policy[Any]:
    """A policy from a pickle: by name and settings, with a state in this process."""
    make: Callable[..., Policy[Any]] = cls
    return make(name, config, default_registry(), **options)
