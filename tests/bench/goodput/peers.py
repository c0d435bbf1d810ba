"""
The other libraries, each as a competent user would put it together.

Where a library brings no failover, all share one pass over the endpoints in order of preference, with half the patience
for a call; up to four passes; a breaker per endpoint, where the library has one, of 5 failures and 10 s.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import tenacity

from .world import Endpoint, ProviderError, Request, now

Ask = Callable[[Request], Awaitable[Any]]  # an answer, or a stream whose first part has come
Make = Callable[[Sequence[Endpoint], float], Ask]  # from the endpoints and the callers' patience in seconds

PASSES = 4
FAILURES, RESET = 5, 10.0  # of a breaker
FAILED = (ProviderError, ConnectionError, TimeoutError)
_numbers = itertools.count()
backoff = tenacity.wait_random_exponential(multiplier=0.5, max=4)


class _VirtualDatetime:
    """For breakers that ask the calendar how long they have been open."""

    @staticmethod
    def now(zone: Any = None) -> datetime:
        return datetime(2026, 1, 1, tzinfo=zone) + timedelta(seconds=now())

    utcnow = now


def _pass_over(calls: Sequence[Ask], failures: tuple[type[Exception], ...]) -> Ask:
    """Ask one after the other; raises the last error."""

    async def one_pass(request: Request) -> str:
        last: Exception | None = None
        for call in calls:
            try:
                return await call(request)
            except failures as error:
                last = error
        assert last is not None
        raise last

    return one_pass


def _bounded(endpoint: Endpoint, seconds: float) -> Ask:
    async def call(request: Request) -> str:
        async with asyncio.timeout(seconds):
            return await endpoint.call(request)

    return call


def _until_the_deadline(ask: Ask) -> Ask:
    async def asked(request: Request) -> str:
        async with asyncio.timeout_at(request.deadline):
            return await ask(request)

    return asked


def _retry_after(error: BaseException | None) -> float:
    return float(getattr(error, "headers", {}).get("retry-after", 0))


def _wait(state: tenacity.RetryCallState) -> float:
    return max(_retry_after(state.outcome.exception() if state.outcome is not None else None), backoff(state))


def tenacity_pybreaker(endpoints: Sequence[Endpoint], patience: float) -> Ask:
    import pybreaker

    pybreaker.datetime = _VirtualDatetime

    def guarded(endpoint: Endpoint) -> Ask:
        breaker = pybreaker.CircuitBreaker(fail_max=FAILURES, reset_timeout=RESET)
        bounded = _bounded(endpoint, patience / 2)

        async def call(request: Request) -> str:
            with breaker.calling():
                return await bounded(request)

        return call

    failures = (*FAILED, pybreaker.CircuitBreakerError)
    one_pass = _pass_over([guarded(each) for each in endpoints], failures)

    async def ask(request: Request) -> str:
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(failures),
            stop=tenacity.stop_after_attempt(PASSES),
            wait=_wait,
            sleep=asyncio.sleep,
            reraise=True,
        )
        return await retrying(one_pass, request)

    return _until_the_deadline(ask)


def stamina(endpoints: Sequence[Endpoint], patience: float) -> Ask:
    import stamina
    from stamina.instrumentation import set_on_retry_hooks

    set_on_retry_hooks([])  # no log of each retry
    one_pass = _pass_over([_bounded(each, patience / 2) for each in endpoints], FAILED)

    def on(error: Exception) -> bool | float:
        return (_retry_after(error) or True) if isinstance(error, FAILED) else False

    retry = stamina.retry(on=on, attempts=PASSES, timeout=None, wait_initial=0.5, wait_max=4, wait_jitter=0.5)
    return _until_the_deadline(retry(one_pass))


def hyx(endpoints: Sequence[Endpoint], patience: float) -> Ask:
    from hyx.circuitbreaker import consecutive_breaker, states
    from hyx.circuitbreaker.exceptions import BreakerFailing
    from hyx.retry import jitters, retry
    from hyx.retry.backoffs import expo
    from hyx.retry.exceptions import MaxAttemptsExceeded
    from hyx.timeout import timeout
    from hyx.timeout.exceptions import MaxDurationExceeded

    states.datetime = _VirtualDatetime  # type: ignore[attr-defined,misc,assignment,unused-ignore]

    def guarded(endpoint: Endpoint) -> Ask:
        breaker = consecutive_breaker(
            exceptions=Exception, failure_threshold=FAILURES, recovery_time_secs=RESET, recovery_threshold=1
        )
        call: Ask = breaker(timeout(patience / 2)(endpoint.call))
        return call

    failures = (*FAILED, BreakerFailing, MaxDurationExceeded, MaxAttemptsExceeded)
    one_pass = _pass_over([guarded(each) for each in endpoints], failures)
    waits = expo(min_delay_secs=0.5, max_delay_secs=4.0, jitter=jitters.full)
    return _until_the_deadline(retry(on=failures, attempts=PASSES - 1, backoff=waits)(one_pass))


def interlock(endpoints: Sequence[Endpoint], patience: float) -> Ask:
    from interlock import CircuitBreaker, CircuitOpenError, Config
    from interlock.integrations.tenacity import RetryStrategy
    from interlock.pipeline import Pipeline
    from interlock.window import WindowType

    settings = Config(
        failure_rate_threshold=0.5,
        minimum_number_of_calls=FAILURES,
        slow_call_duration_threshold=0.4 * patience,
        slow_call_rate_threshold=0.5,
        permitted_calls_in_half_open=3,
        max_concurrent_probes=1,
        wait_duration_in_open=RESET,
        window_type=WindowType.TIME_BASED,
        window_size=10,
    )

    def guarded(endpoint: Endpoint) -> Ask:
        breaker = CircuitBreaker(name=endpoint.name, config=settings)
        pipeline = Pipeline.builder().circuit_breaker(breaker).timeout(patience / 2).build()

        async def call(request: Request) -> str:
            return await endpoint.call(request)

        guarded: Ask = pipeline(call)
        return guarded

    failures = (*FAILED, CircuitOpenError)
    one_pass = _pass_over([guarded(each) for each in endpoints], failures)
    again = tenacity.retry_if_exception_type(failures)
    return _until_the_deadline(Pipeline(RetryStrategy(attempts=PASSES, retry=again, wait=_wait))(one_pass))


class _LiteLLM:
    """Lets LiteLLM's router call the endpoints of a world, each a deployment of one model."""

    def __init__(self, endpoints: Sequence[Endpoint], patience: float) -> None:
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch that
        import litellm
        from litellm.llms.custom_llm import CustomLLM, CustomLLMError

        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._requests: dict[str, Request] = {}
        litellm.suppress_debug_info = litellm.turn_off_message_logging = True
        logging.getLogger("LiteLLM Router").disabled = logging.getLogger("LiteLLM").disabled = True
        provider = f"world{next(_numbers)}"

        class World(CustomLLM):
            async def acompletion(this, model: str, messages: Any, *_: Any, **settings: Any) -> Any:  # noqa: N805
                endpoint = self._endpoints[model.rsplit("/", 1)[-1]]
                try:
                    async with asyncio.timeout(patience / 2):  # as an HTTP client does that is told the timeout
                        text = await endpoint.call(self._requests[messages[0]["content"]])
                except TimeoutError:
                    raise litellm.Timeout("timed out", model=model, llm_provider=provider) from None
                except (ProviderError, ConnectionError) as error:
                    found = CustomLLMError(getattr(error, "status_code", 503), str(error))
                    found.headers = getattr(error, "headers", {})  # type: ignore[attr-defined,unused-ignore]
                    raise found from error
                answer = litellm.ModelResponse(model=model)
                answer.choices[0].message.content = text
                return answer

        litellm.custom_provider_map = [
            *litellm.custom_provider_map,
            {"provider": provider, "custom_handler": World()},
        ]
        models = [
            {
                "model_name": "chat",
                "litellm_params": {"model": f"{provider}/{name}", "max_retries": 0},
                "model_info": {"id": f"{provider}-{name}"},
            }
            for name in self._endpoints
        ]
        self._router = litellm.Router(
            model_list=models,
            num_retries=PASSES - 1,
            timeout=patience / 2,
            cooldown_time=RESET,
            allowed_fails=3,
            retry_after=0,
        )

    async def ask(self, request: Request) -> str:
        text = f"{request.number}"
        self._requests[text] = request
        answer = await self._router.acompletion(model="chat", messages=[{"role": "user", "content": text}])
        return str(answer.choices[0].message.content)


def litellm_router(endpoints: Sequence[Endpoint], patience: float) -> Ask:
    return _until_the_deadline(_LiteLLM(endpoints, patience).ask)


class _Peer(NamedTuple):
    package: str
    make: Make


PEERS = {
    "tenacity + pybreaker": _Peer("pybreaker", tenacity_pybreaker),
    "stamina": _Peer("stamina", stamina),
    "hyx": _Peer("hyx", hyx),
    "interlock": _Peer("interlock", interlock),
    "LiteLLM's router": _Peer("litellm", litellm_router),
}
