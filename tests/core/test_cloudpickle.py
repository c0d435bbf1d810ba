"""What Ray, Dask and joblib send by cloudpickle arrives with its policies, or is refused aloud."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap

import pytest

import resilient_ai
from resilient_ai import (
    Endpoint,
    ErrorType,
    Registry,
    RetryRule,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    describe,
    failover,
    rate_limit,
    spend_limit,
)
from resilient_ai.testing import isolated_registry

cloudpickle = pytest.importorskip("cloudpickle")


@pytest.fixture(autouse=True)
def default_registry():
    with isolated_registry() as registry:
        yield registry


def sent(thing):
    return pickle.loads(cloudpickle.dumps(thing))


def made():
    @degrade_to("later")
    @spend_limit("s", usd_per_hour=1)
    @classified_retry("r", rules={ErrorType.TIMEOUT: RetryRule(7, 1, 2)})
    @failover(Endpoint("us", region="us"), Endpoint("eu"), name="f", strategy="priority")
    @rate_limit("q", tokens_per_minute=6000, cost=lambda endpoint, prompt: len(prompt))
    @adaptive_limit("l", initial=3)
    @circuit_breaker("c", failure_threshold=1, ignore=lambda error: False)
    async def ask(endpoint, prompt):
        return f"{endpoint.name}: {prompt}"

    @batched("b", batch_size=2, batch_timeout=0, group_by=lambda *_, **__: 1)
    async def embed(texts):
        return [text.upper() for text in texts]

    return ask, embed


async def test_every_policy_arrives_with_its_name_and_settings():
    ask, embed = made()
    there, embed_there = sent(ask), sent(embed)

    assert [each.kind for each in describe(there).layers] == [each.kind for each in describe(ask).layers]
    assert "failure_threshold=1" in repr(describe(there))
    assert await there("hello") == "us: hello"
    assert await embed_there("hello") == "HELLO"


async def test_what_arrives_in_the_same_process_shares_its_state(default_registry):
    @circuit_breaker("c", failure_threshold=1)
    async def ask():
        raise ConnectionError("refused")

    there = sent(ask)
    with pytest.raises(ConnectionError):
        await ask()
    with pytest.raises(resilient_ai.CircuitOpenError):
        await there()

    assert default_registry.circuit_breakers["c"].stats().total_calls == 1


async def test_what_arrives_is_switched_off_with_its_registry(default_registry):
    @degrade_to("later")
    async def ask():
        raise ConnectionError("refused")

    there = sent(ask)

    assert await there() == "later"
    with default_registry.disabled(), pytest.raises(ConnectionError):
        await there()


async def test_a_class_that_is_sent_keeps_its_policies_here_and_there():
    class Service:
        @circuit_breaker("c", failure_threshold=1)
        async def ask(self):
            raise ConnectionError("refused")

        @staticmethod
        @circuit_breaker("s")
        async def static(text):
            return text

        @classmethod
        @circuit_breaker("k")
        async def of_class(cls, text):
            return text

    there = sent(Service)
    bound = sent(Service().ask)

    for fn in (Service.ask, there.ask, bound, Service.static, there.static, Service.of_class, there.of_class):
        assert describe(fn).layers[0].kind == "circuit_breaker"
    assert await there.static("x") == await there.of_class("x") == "x"


def test_a_function_in_a_registry_of_its_own_is_refused():
    @circuit_breaker("c", registry=Registry(listeners=()))
    async def ask(): ...

    with pytest.raises(pickle.PicklingError, match="circuit_breaker 'c' is in a registry of its own"):
        cloudpickle.dumps(ask)


def test_a_setting_that_cannot_be_sent_is_refused():
    @circuit_breaker("c", key=(each for each in ()).__next__)
    async def ask(): ...

    with pytest.raises(TypeError, match="cannot pickle"):
        cloudpickle.dumps(ask)


def test_pickle_itself_still_goes_by_the_name():
    ask, _ = made()

    with pytest.raises((pickle.PicklingError, AttributeError), match="ask"):
        pickle.dumps(ask)


def test_another_process_gets_a_script_s_function_with_its_policies(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, cloudpickle
            from resilient_ai import circuit_breaker

            @circuit_breaker("c", failure_threshold=1)
            async def ask():
                raise ConnectionError("refused")

            sys.stdout.buffer.write(cloudpickle.dumps(ask))
            """
        )
    )
    written = subprocess.run([sys.executable, script], capture_output=True, check=True).stdout
    worker = textwrap.dedent(
        """
        import asyncio, pickle, sys

        async def main():
            ask, seen = pickle.loads(sys.stdin.buffer.read()), []
            for _ in range(2):
                try:
                    await ask()
                except Exception as error:
                    seen.append(type(error).__name__)
            print(*seen)

        asyncio.run(main())
        """
    )
    said = subprocess.run([sys.executable, "-c", worker], input=written, capture_output=True, check=True).stdout

    assert said.split()[-2:] == [b"ConnectionError", b"CircuitOpenError"]
