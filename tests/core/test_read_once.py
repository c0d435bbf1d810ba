"""Arguments that are used up by reading never reach a second attempt empty."""

from __future__ import annotations

import io
import socket
from configparser import ConfigParser
from dataclasses import dataclass
from types import SimpleNamespace
from unittest.mock import MagicMock

import pydantic
import pytest

from resilient_ai import AIServiceError, Endpoint, ErrorType, RetryRule, classified_retry, failover

RULES = {ErrorType.NETWORK_ERROR: RetryRule(2, 0, 0)}


def retried(registry, fn):
    return classified_retry("retry", rules=RULES, registry=registry)(fn)


def failed_over(registry, fn):
    async def ask(endpoint, *args, **kwargs):
        return await fn(*args, **kwargs)

    return failover(Endpoint("a"), Endpoint("b"), name="regions", registry=registry)(ask)


def layered(registry, fn):
    """Off the fast path, so that somebody looks at the arguments before the first attempt."""
    return classified_retry("retry", rules=RULES, timeout_seconds=30, registry=registry)(fn)


def sender(contents):
    """Fails once, after it has read its argument."""
    read = []

    async def send(*args, **kwargs):
        read.append(contents(*args, **kwargs))
        if len(read) == 1:
            raise ConnectionError("connection reset")
        return read[-1]

    send.read = read
    return send


@pytest.fixture(params=[retried, failed_over, layered])
def policy(request):
    return request.param


def joined(parts):
    return b"".join(parts)


@pytest.mark.parametrize(
    "make",
    [
        lambda: (part for part in (b"au", b"dio")),
        lambda: iter([b"au", b"dio"]),
        lambda: map(bytes, [b"au", b"dio"]),
        lambda: zip([b"audio"], strict=True),
    ],
    ids=["generator", "iterator", "map", "zip"],
)
async def test_what_can_be_read_once_is_not_sent_twice(registry, policy, make):
    send = sender(lambda parts: list(parts))
    with pytest.raises((AIServiceError, ConnectionError)) as caught:
        await policy(registry, send)(make())

    told = str(caught.value) + "".join(getattr(caught.value, "__notes__", ()))
    assert "argument 1" in told
    assert "can be read only once" in told
    assert len(send.read) == 1


async def test_a_stream_that_cannot_seek_is_not_sent_twice(registry, policy):
    class Pipe(io.RawIOBase):
        def readable(self):
            return True

        def readall(self):
            return b"audio"

    send = sender(lambda *, file: file.readall())
    with pytest.raises((AIServiceError, ConnectionError)):
        await policy(registry, send)(file=Pipe())
    assert len(send.read) == 1


async def test_a_socket_is_not_sent_twice(registry, policy):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"audio")
        send = sender(lambda connection: connection.recv(5))
        with pytest.raises((AIServiceError, ConnectionError)):
            await policy(registry, send)(ours)
    assert len(send.read) == 1


@pytest.mark.parametrize(
    ("call", "contents"),
    [
        (lambda file: ((file,), {}), lambda file: file.read()),
        (lambda file: ((), {"file": file}), lambda file: file.read()),
        (lambda file: ((), {"files": {"file": ("a.wav", file)}}), lambda files: files["file"][1].read()),
        (lambda file: (([file],), {}), lambda files: files[0].read()),
    ],
    ids=["argument", "keyword", "in a dictionary", "in a list"],
)
async def test_a_file_is_put_back(registry, policy, call, contents):
    args, kwargs = call(io.BytesIO(b"audio"))

    assert await policy(registry, sender(contents))(*args, **kwargs) == b"audio"


@dataclass
class Record:
    file: object


class Model(pydantic.BaseModel, arbitrary_types_allowed=True):
    file: object


@pytest.mark.parametrize("kind", [Record, Model])
async def test_what_a_record_holds_is_looked_at_too(registry, policy, kind):
    assert await policy(registry, sender(lambda held: held.file.read()))(kind(file=io.BytesIO(b"audio"))) == b"audio"

    send = sender(lambda held: joined(held.file))
    with pytest.raises((AIServiceError, ConnectionError)):
        await policy(registry, send)(kind(file=iter([b"au", b"dio"])))
    assert len(send.read) == 1


async def test_a_reader_of_ones_own_that_cannot_seek_is_not_sent_twice(registry, policy):
    class Progress:
        def __init__(self):
            self._file = io.BytesIO(b"audio")

        def read(self):
            return self._file.read()

        def readline(self):
            return self._file.readline()

    send = sender(lambda reader: reader.read())
    with pytest.raises((AIServiceError, ConnectionError)):
        await policy(registry, send)(Progress())
    assert send.read == [b"audio"]


async def test_settings_that_are_read_into_a_mapping_are_sent_again(registry, policy):
    settings = ConfigParser()
    settings.read_string("[audio]\nrate = 8")

    assert await policy(registry, sender(lambda each: each["audio"]["rate"]))(settings) == "8"


async def test_a_file_is_put_back_to_where_it_stood(registry):
    file = io.BytesIO(b"header audio")
    file.seek(7)

    assert await layered(registry, sender(lambda file: file.read()))(file) == b"audio"


async def test_an_upload_of_a_web_framework_is_put_back(registry, policy):
    class Upload:
        def __init__(self, file):
            self.file = file

        async def read(self):
            return self.file.read()

        async def seek(self, offset):
            self.file.seek(offset)

    assert await policy(registry, sender(lambda upload: upload.file.read()))(Upload(io.BytesIO(b"audio"))) == b"audio"


async def test_a_file_that_was_closed_meanwhile_is_not_sent_again(registry, policy):
    def contents(file):
        with file:
            return file.read()

    send = sender(contents)
    with pytest.raises((AIServiceError, ConnectionError)):
        await policy(registry, send)(io.BytesIO(b"audio"))
    assert len(send.read) == 1


@pytest.mark.parametrize(
    "argument",
    [[b"au", b"dio"], (b"audio",), {"a": 1}, range(3), MagicMock(), SimpleNamespace(read=1), io.BytesIO],
    ids=lambda argument: type(argument).__name__,
)
async def test_everything_else_is_sent_again(registry, policy, argument):
    assert await policy(registry, sender(lambda argument: argument))(argument) is argument


async def test_a_generator_that_nobody_has_begun_to_read_is_sent_again(registry, policy):
    parts = (part for part in (b"au", b"dio"))
    calls = []

    async def send(parts):
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("no route to host")
        return joined(parts)

    assert await policy(registry, send)(parts) == b"audio"


async def test_an_argument_that_nobody_can_look_at_is_passed_on_and_leaves_nothing_held(registry):
    class OutOfContext:
        def __getattr__(self, name):
            raise RuntimeError("working outside of request context")

    send = sender(lambda given: type(given).__name__)
    ask = retried(registry, failed_over(registry, send))

    assert await ask(OutOfContext()) == "OutOfContext"
    assert send.read == ["OutOfContext"] * 2
    assert [each.stats().in_flight for each in registry.endpoints.values()] == [0, 0]
