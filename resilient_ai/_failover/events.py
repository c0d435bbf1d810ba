"""The events of a failover and its endpoints."""

from dataclasses import dataclass, field
from typing import ClassVar

from resilient_ai._core.events import Event, Level
from resilient_ai._core.public import public


@public("events")
@dataclass(frozen=True, slots=True)
class EndpointDown(Event):
    """
    An endpoint is not asked for a while.

    Attributes:
        endpoint: Its name.
        error_type: The value of the `ErrorType` of the failure.
        rest: Seconds for which it rests.
        seconds: Duration of the call that failed.
    """

    log_name: ClassVar[str] = "resilient_ai.endpoint_down"
    level: ClassVar[Level] = "warning"

    endpoint: str = field()  # pyright: ignore[reportIncompatibleMethodOverride]  # not the property of all events
    error_type: str
    rest: float
    seconds: float = 0.0


@public("events")
@dataclass(frozen=True, slots=True)
class EndpointDenied(EndpointDown):
    """Credentials, rights, quota or a wrong name: a person has to act. Sent once until the endpoint is up again."""

    log_name: ClassVar[str] = "resilient_ai.endpoint_denied"
    level: ClassVar[Level] = "error"


@public("events")
@dataclass(frozen=True, slots=True)
class EndpointUp(Event):
    """
    An endpoint is asked again like any other.

    Attributes:
        endpoint: Its name.
    """

    log_name: ClassVar[str] = "resilient_ai.endpoint_up"

    endpoint: str = field()  # pyright: ignore[reportIncompatibleMethodOverride]  # not the property of all events


@public("events")
@dataclass(frozen=True, slots=True)
class EndpointMarked(Event):
    """
    An operator took an endpoint out of rotation, or back in.

    Attributes:
        endpoint: Its name.
        mark: "down" or "up".
    """

    log_name: ClassVar[str] = "resilient_ai.endpoint_marked"
    level: ClassVar[Level] = "warning"

    endpoint: str = field()  # pyright: ignore[reportIncompatibleMethodOverride]  # not the property of all events
    mark: str


@public("events")
@dataclass(frozen=True, slots=True)
class FailedOver(Event):
    """
    A call went on to another endpoint.

    Attributes:
        endpoint: The one that failed.
        error_type: The value of the `ErrorType`.
        to: The one that is asked next.
        seconds: Duration of the failed call.
    """

    log_name: ClassVar[str] = "resilient_ai.failed_over"

    endpoint: str = field()  # pyright: ignore[reportIncompatibleMethodOverride]  # not the property of all events
    error_type: str
    to: str
    seconds: float = 0.0


@public("events")
@dataclass(frozen=True, slots=True)
class Hedged(Event):
    """
    A second endpoint was asked because the first had not answered.

    Attributes:
        endpoint: The second one.
        after: Seconds for which the first had not answered.
        won: Whether the second answered first.
    """

    log_name: ClassVar[str] = "resilient_ai.hedged"
    level: ClassVar[Level] = "debug"

    endpoint: str = field()  # pyright: ignore[reportIncompatibleMethodOverride]  # not the property of all events
    after: float
    won: bool
