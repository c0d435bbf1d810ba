"""Functions and errors that tests of several policies need."""

from __future__ import annotations

import random
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from resilient_ai import ErrorType, register_classifier
from resilient_ai._classification.verdict import verdict
from resilient_ai._core.policy import Policy

# For long tests of what is the same code on either backend.
trio_in_ci = pytest.mark.parametrize("anyio_backend", ["asyncio", pytest.param("trio", marks=pytest.mark.slow)])


class ProviderError(Exception):
    """Means what it says, in tests that use the fixture `provider_errors`."""

    def __init__(
        self, error_type: ErrorType | str, retry_after: float | None = None, *, in_stream: bool = False
    ) -> None:
        super().__init__(str(error_type))
        self.verdict = verdict(ErrorType(error_type), retry_after=retry_after, in_stream=in_stream)


class ByLayers(Policy):
    """Does nothing, and has no part in a fast path: what lies above runs layer by layer."""

    kind = "by_layers"

    def make_state(self, name):
        raise NotImplementedError

    def bind(self, bind_inner, site):
        return bind_inner(site)


@contextmanager
def errors_mean_what_they_say():
    """What the fixture `provider_errors` does, for tests that make their own examples."""
    unregister = register_classifier(lambda error: error.verdict if isinstance(error, ProviderError) else None)
    try:
        yield
    finally:
        unregister()


def interleaved(*targets, trace):
    """
    Run each target in a thread of its own, with threads that change places every few bytecodes.

    In files whose name holds one of `trace`, they do so at a quarter of all lines, by chance: missing locks are seen as
    often as with every line, and a change of threads costs more than all else here. Both begin when all threads have:
    Python cannot take two trace functions at one moment, be it a coverage tool's that it sets where a thread begins.
    """

    def breathe(frame, _event, _arg):
        if not any(name in frame.f_code.co_filename for name in trace):
            return None
        if roll() < 0.25:
            time.sleep(0)
        return breathe

    def run(target):
        begun.wait()
        with installing:
            sys.settrace(breathe)
        target()

    roll = random.Random(1).random
    interval = sys.getswitchinterval()
    begun = threading.Barrier(len(targets), lambda: sys.setswitchinterval(1e-6))
    installing = threading.Lock()
    threads = [threading.Thread(target=run, args=(target,)) for target in targets]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)


def scripted(*outcomes):
    """An async function that gives one outcome per call, the last one for ever; exceptions are raised."""
    left = list(outcomes)

    async def call(*args, **kwargs):
        call.calls += 1
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    call.calls = 0
    return call


async def work_of(run) -> int:
    """How many calls, of Python's functions and of C's, awaiting `run()` takes; what grows with it, grows with time."""
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        await run()
    finally:
        sys.setprofile(before)
    return calls
