"""Two calls have one key exactly when function, scope and arguments are the same."""

from __future__ import annotations

import gc
import weakref

import pytest

from resilient_ai import FailedCall
from resilient_ai._degrade_to.call_key import call_key
from resilient_ai._degrade_to.digest import NoScope


def test_a_call_has_one_key_however_its_arguments_are_passed():
    by_position = FailedCall("ask", args=("hi",), arguments={"text": "hi", "tone": "kind"})
    by_name = FailedCall("ask", kwargs={"tone": "kind", "text": "hi"}, arguments={"tone": "kind", "text": "hi"})

    assert call_key(by_position) == call_key(by_name)
    assert call_key(by_position) != call_key(FailedCall("other", arguments={"text": "hi", "tone": "kind"}))
    assert call_key(by_position) != call_key(FailedCall("ask", arguments={"text": "kind", "tone": "hi"}))


class Client:
    pass


def of_client(client):
    return call_key(FailedCall("ask", arguments={"client": client}))


def test_a_key_keeps_no_object_alive_and_equals_no_later_one():
    client = Client()
    client.name = "one"
    gone, key = weakref.ref(client), of_client(client)
    assert of_client(client) == key
    del client
    gc.collect()

    assert gone() is None
    for _ in range(1_000):
        later = Client()
        later.name = "one"
        assert of_client(later) != key


def test_what_cannot_be_compared_is_an_error_of_its_own():
    nested: list[object] = []
    nested.append(nested)
    for value in (nested, ["text"] * 30_000, iter(())):
        with pytest.raises(NoScope):
            of_client(value)
