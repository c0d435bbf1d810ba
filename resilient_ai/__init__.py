"""
Resilience decorators for async functions that call AI providers.

Put them on a function, in any order and any subset; `registry` shows what every one of them is doing:

    from resilient_ai import circuit_breaker, classified_retry, degrade_to, registry

Names that are needed less often are in `resilient_ai.events` and `.types`; endpoints for real providers are in
`.providers`, fallbacks from similar answers in `.similar`, and tools for tests in `.testing`.
"""

import importlib
import sys
import typing

# Each name that is imported here, and each one in `_LATER`, is public. Rarely used names have modules of their own, so
# that this list can be read in a REPL.
from ._core.errors import AIServiceError as AIServiceError
from ._core.errors import AllEndpointsFailedError as AllEndpointsFailedError
from ._core.errors import BatchResultError as BatchResultError
from ._core.errors import CallTimeoutError as CallTimeoutError
from ._core.errors import CircuitOpenError as CircuitOpenError
from ._core.errors import DoubleRetryWarning as DoubleRetryWarning
from ._core.errors import EndpointMismatchWarning as EndpointMismatchWarning
from ._core.errors import ErrorType as ErrorType
from ._core.errors import LimitReachedError as LimitReachedError
from ._core.errors import QueueFullError as QueueFullError
from ._core.errors import RejectedResultError as RejectedResultError
from ._core.errors import ResilienceError as ResilienceError
from ._core.errors import StackOrderWarning as StackOrderWarning
from ._core.errors import StreamTruncatedError as StreamTruncatedError
from ._registry import Registry as Registry
from ._registry import registry as registry

__version__ = "0.1.0"

if typing.TYPE_CHECKING:
    from ._adaptive_limit.decorator import adaptive_limit as adaptive_limit
    from ._batched.decorator import batched as batched
    from ._batched.each import each as each
    from ._circuit_breaker.config import NEUTRAL as NEUTRAL
    from ._circuit_breaker.decorator import circuit_breaker as circuit_breaker
    from ._circuit_breaker.tickets import CircuitState as CircuitState
    from ._classification.classify import classify as classify
    from ._classification.results import classify_result as classify_result
    from ._classification.user_rules import register_classifier as register_classifier
    from ._classification.user_rules import register_rules as register_rules
    from ._classification.verdict import Verdict as Verdict
    from ._classified_retry.budget import RetryBudget as RetryBudget
    from ._classified_retry.decorator import classified_retry as classified_retry
    from ._classified_retry.rules import RetryRule as RetryRule
    from ._core.call_facts import watch as watch
    from ._core.describe import describe as describe
    from ._core.time_left import deadline as deadline
    from ._core.time_left import time_left as time_left
    from ._degrade_to.config import UNAVAILABLE as UNAVAILABLE
    from ._degrade_to.contract import NO_ANSWER as NO_ANSWER
    from ._degrade_to.contract import FailedCall as FailedCall
    from ._degrade_to.decorator import degrade_to as degrade_to
    from ._degrade_to.last_answer import LastAnswer as LastAnswer
    from ._degrade_to.rules import first_sentences as first_sentences
    from ._degrade_to.rules import key_sentences as key_sentences
    from ._degrade_to.rules import sentiment as sentiment
    from ._degrade_to.rules import static_texts as static_texts
    from ._failover.decorator import failover as failover
    from ._failover.endpoint import Endpoint as Endpoint
    from ._rate_limit.decorator import rate_limit as rate_limit
    from ._resilient import resilient as resilient
    from ._spend_limit.decorator import spend_limit as spend_limit
    from ._spend_limit.error import SpendLimitReachedError as SpendLimitReachedError
else:
    # Imported on first use, so that a program pays only for the policies that it uses.
    _LATER = {
        "CircuitState": "_circuit_breaker.state",
        "Endpoint": "_failover.endpoint",
        "FailedCall": "_degrade_to.contract",
        "LastAnswer": "_degrade_to.last_answer",
        "NEUTRAL": "_circuit_breaker.config",
        "NO_ANSWER": "_degrade_to.contract",
        "RetryBudget": "_classified_retry.budget",
        "RetryRule": "_classified_retry.rules",
        "SpendLimitReachedError": "_spend_limit.error",
        "UNAVAILABLE": "_degrade_to.config",
        "Verdict": "_classification.verdict",
        "adaptive_limit": "_adaptive_limit.decorator",
        "batched": "_batched.decorator",
        "circuit_breaker": "_circuit_breaker.decorator",
        "classified_retry": "_classified_retry.decorator",
        "classify": "_classification.classify",
        "classify_result": "_classification.results",
        "deadline": "_core.time_left",
        "degrade_to": "_degrade_to.decorator",
        "describe": "_core.describe",
        "each": "_batched.each",
        "failover": "_failover.decorator",
        "first_sentences": "_degrade_to.rules",
        "key_sentences": "_degrade_to.rules",
        "rate_limit": "_rate_limit.decorator",
        "register_classifier": "_classification.user_rules",
        "register_rules": "_classification.user_rules",
        "resilient": "_resilient",
        "sentiment": "_degrade_to.rules",
        "spend_limit": "_spend_limit.decorator",
        "static_texts": "_degrade_to.rules",
        "time_left": "_core.time_left",
        "watch": "_core.call_facts",
    }
    __all__ = sorted(
        {name for name, thing in globals().items() if name[0] != "_" and type(thing) is not type(sys)} | {*_LATER}
    )

    def __dir__() -> list[str]:
        return ["__version__", *__all__]

    def __getattr__(name: str) -> object:
        if name in _LATER:
            thing = globals()[name] = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
            return thing
        home = _home_of(name)
        message = f"module {__name__!r} has no attribute {name!r}" + (f"; it is in {home}" if home else "")
        # `from ... import` calls this first, and replaces the text of an AttributeError by its own.
        if home and sys._getframe(1).f_globals.get("__name__") == "importlib._bootstrap":
            raise ImportError(message, name=__name__)
        raise AttributeError(message, name=name, obj=sys.modules[__name__])

    def _home_of(name: str) -> str | None:
        """The public module that has a name; None if there is none."""
        import contextlib
        import pkgutil

        public = [module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_"]
        if name[0] == "_" or name in public:
            return None
        for module in public:
            with contextlib.suppress(ImportError):  # the extra is not installed
                if name in importlib.import_module(f".{module}", __name__).__all__:
                    return f"{__name__}.{module}"
        return None
