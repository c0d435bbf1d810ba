"""Generator functions, and plain functions that return a stream, below every policy."""

from __future__ import annotations

import gc
import inspect
import io
import threading
from collections.abc import Iterator

import openai
import pytest

from resilient_ai import (
    CircuitState,
    Endpoint,
    ErrorType,
    LastAnswer,
    Registry,
    RejectedResultError,
    RetryRule,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
)
from resilient_ai.testing import FakeProvider

US, EU = Endpoint("us"), Endpoint("eu")
NO_WAIT = {ErrorType.NETWORK_ERROR: RetryRule(2, 1, 1, jitter="none")}


class Stream:
    """As an SDK's: an object around a response, which is closed by itself."""

    def __init__(self, *items):
        self.items = iter(items)
        self.response = "the SDK's"
        self.closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        item = next(self.items)
        if isinstance(item, Exception):
            raise item
        return item

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        self.closed += 1


class Source:
    """Streams in turn, given in either of the two ways."""

    def __init__(self, way, *streams):
        self.way = way
        self.streams = [Stream(*each) for each in streams]
        self.opened = []
        self.asked = []

    def function(self):
        def returning(*endpoint):
            self.asked += [each.name for each in endpoint]
            self.opened.append(self.streams.pop(0))
            return self.opened[-1]

        def yielding(*endpoint):
            with returning(*endpoint) as stream:
                yield from stream

        return yielding if self.way == "yields" else returning


@pytest.fixture(params=["yields", "returns"])
def way(request):
    return request.param


def circuit(registry):
    return next(iter(registry.circuit_breakers.values())).stats()


def test_a_stream_counts_when_it_was_read_to_its_end(way, registry):
    source = Source(way, ["a", "b", "c"])
    stream = circuit_breaker("stream", registry=registry)(source.function())()
    first = next(stream)
    before = circuit(registry).total_calls

    assert [first, *stream] == ["a", "b", "c"]
    assert (before, circuit(registry).total_calls, circuit(registry).failure_rate) == (0, 1, 0.0)
    assert source.opened[0].closed >= 1


def test_what_fails_before_the_first_item_is_tried_again(way, registry, clock):
    source = Source(way, [ConnectionError()], ["", ConnectionError()], ["a", "b"])
    stream = classified_retry("stream", rules=NO_WAIT, registry=registry)(source.function())()

    assert list(stream) == ["a", "b"]
    assert clock.now() == 2
    assert registry.retries["stream"].stats().recovered == 1


def test_what_fails_after_the_first_item_is_the_consumers_and_counts_for_the_circuit(way, registry):
    source = Source(way, ["a", ConnectionError()])
    call = classified_retry(registry=registry)(
        circuit_breaker("stream", failure_threshold=1, registry=registry)(source.function())
    )
    stream = call()
    first = next(stream)
    with pytest.raises(ConnectionError):
        next(stream)

    assert first == "a"
    assert circuit(registry).state is CircuitState.OPEN


def test_a_failover_moves_on_until_the_first_item_and_hands_in_an_endpoint(way, registry):
    source = Source(way, [ConnectionError()], ["a"])
    stream = failover(US, EU, strategy="priority", registry=registry)(source.function())()

    assert list(stream) == ["a"]
    assert source.asked == ["us", "eu"]


@pytest.mark.parametrize("leave", ["close", "drop", "break"])
def test_a_consumer_that_leaves_is_neutral_and_the_source_is_closed(way, registry, leave):
    source = Source(way, ["a", "b", "c"])
    stream = circuit_breaker("stream", registry=registry)(source.function())()
    if leave == "break":
        for _ in stream:
            break
    else:
        next(stream)
    if leave == "close":
        stream.close()
    del stream
    gc.collect()

    assert circuit(registry).neutral == 1
    assert source.opened[0].closed >= 1


def test_a_stream_that_nobody_begins_to_read_is_closed_and_gives_back_what_it_holds(registry):
    source = Source("returns", ["a"])
    call = circuit_breaker("stream", registry=registry)(source.function())
    stream = call()
    del stream
    gc.collect()

    assert source.opened[0].closed == 1
    assert circuit(registry).neutral == 1


def test_items_are_judged_one_by_one(way, registry):
    def filtered(item):
        return ErrorType.CONTENT_FILTER if item == "bad" else None

    source = Source(way, ["a", "bad"])
    stream = circuit_breaker("stream", reject=filtered, registry=registry)(source.function())
    with pytest.raises(RejectedResultError):
        list(stream())


def test_a_fallback_is_one_item_where_a_stream_is_wanted(way, registry):
    source = Source(way, [ConnectionError()])
    stream = degrade_to("later", stream=True, registry=registry)(source.function())()
    with stream if hasattr(stream, "__enter__") else io.StringIO():
        assert list(stream) == ["later"]


def test_the_return_annotation_says_that_a_stream_is_wanted(registry):
    def pieces(call):
        yield from ("la", "ter")

    @degrade_to(pieces, registry=registry)
    def ask() -> Iterator[str]:
        raise ConnectionError

    assert list(ask()) == ["la", "ter"]


def test_a_rung_that_is_a_stream_is_refused_where_one_answer_is_wanted(registry):
    def pieces(call):
        yield "later"

    def ask() -> str: ...

    with pytest.raises(TypeError, match=r"rung pieces of @degrade_to is a stream, but .*ask returns one answer"):
        degrade_to(pieces, registry=registry)(ask)


def test_a_memory_keeps_the_text_of_a_stream(registry):
    source = Source("yields", ["a", "b"], [ConnectionError()])
    call = degrade_to(LastAnswer(), registry=registry)(source.function())

    assert list(call()) == ["a", "b"]
    assert list(call()) == ["ab"]


def test_a_probe_holds_its_slot_until_its_stream_ends(way, registry, clock):
    source = Source(way, [ConnectionError()], ["a", "b"], ["c"])
    call = circuit_breaker(
        "stream", failure_threshold=1, half_open_max_calls=1, success_threshold=1, registry=registry
    )(source.function())
    with pytest.raises(ConnectionError):
        list(call())
    clock.advance(60)
    stream = call()
    next(stream)
    while_reading = circuit(registry).probes_in_flight
    rest = list(stream)

    assert (while_reading, rest, circuit(registry).state) == (1, ["b"], CircuitState.CLOSED)


# -- true to what it is


def test_a_generator_function_stays_one_and_does_nothing_before_it_is_read(registry):
    source = Source("yields", ["a"])

    class Desk:
        @circuit_breaker("desk", registry=registry)
        def tokens(self):
            yield from source.function()()

    call = circuit_breaker("stream", registry=registry)(source.function())
    generator = call()

    assert inspect.isgeneratorfunction(call)
    assert inspect.isgeneratorfunction(Desk.tokens)
    assert inspect.isgenerator(generator)
    assert source.opened == []
    assert list(Desk().tokens()) == ["a"]


def test_a_returned_stream_is_the_sdks_own_object_in_every_respect(registry):
    source = Source("returns", ["a", "b"])
    call = circuit_breaker("stream", registry=registry)(source.function())
    with call() as stream:
        seen = isinstance(stream, Stream), stream.response, hasattr(stream, "aclose"), next(stream)

    assert seen == (True, "the SDK's", False, "a")
    assert source.opened[0].closed >= 1


@pytest.mark.parametrize("answer", [io.BytesIO(b"one\ntwo"), ["a"], "text", {"a": 1}, range(3)])
def test_what_is_read_otherwise_than_item_by_item_is_an_answer(registry, answer):
    assert circuit_breaker("answer", registry=registry)(lambda: answer)() is answer


async def test_streams_work_within_a_running_loop(way, registry):
    source = Source(way, [ConnectionError()], ["a", "b"])
    stream = failover(US, EU, strategy="priority", registry=registry)(source.function())()

    assert list(stream) == ["a", "b"]
    assert source.opened[1].closed >= 1


def test_a_stream_is_read_in_another_thread_than_the_one_that_opened_it(registry):
    source = Source("returns", ["a", "b"])
    stream = circuit_breaker("stream", registry=registry)(source.function())()
    got = []
    thread = threading.Thread(target=lambda: got.extend(stream))
    thread.start()
    thread.join()

    assert got == ["a", "b"]


def test_the_stream_of_the_openai_sdk_goes_through_all_four(clock):
    registry = Registry(clock=clock, listeners=())
    with FakeProvider("us") as us, FakeProvider("eu") as eu:
        us.script(503)
        clients = {
            each.name: openai.OpenAI(base_url=f"{each.url}/v1", api_key="sk-x", max_retries=0) for each in (us, eu)
        }

        @degrade_to("later", registry=registry)
        @classified_retry(registry=registry)
        @failover(US, EU, strategy="priority", registry=registry)
        @circuit_breaker(registry=registry)
        def create(endpoint):
            return clients[endpoint.name].chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hello"}], stream=True
            )

        with create() as stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
            kind = isinstance(stream, openai.Stream)
        for client in clients.values():
            client.close()

    assert kind
    assert text
    assert registry.endpoints["us"].stats().failures == 1
