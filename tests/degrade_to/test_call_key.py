"""Two calls have one key exactly when their arguments are the same, and a key keeps no object alive."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import FailedCall
from resilient_ai._core.frozen import UnkeyableError, frozen
from resilient_ai._degrade_to.call_key import call_key

PLAIN = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.0, 1.0, 2.5]), st.text("ab", max_size=2)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text("ab", max_size=1), inner, max_size=3),
    ),
    max_leaves=8,
)


def told_apart(value):
    """The same question answered the slow way: types and values written out, dicts in the order of their names."""
    if isinstance(value, dict):
        return "dict", sorted((name, told_apart(each)) for name, each in value.items())
    if isinstance(value, list | tuple):
        return type(value).__name__, [told_apart(each) for each in value]
    return type(value).__name__, repr(value)


@given(PLAIN, PLAIN)
def test_keys_are_equal_exactly_when_types_and_values_are(one, other):
    assert (frozen(one) == frozen(other)) == (told_apart(one) == told_apart(other))


@given(PLAIN)
def test_a_copy_has_the_same_key_and_hash(value):
    twin = frozen(copy.deepcopy(value))

    assert frozen(value) == twin
    assert hash(frozen(value)) == hash(twin)


def test_a_call_has_one_key_however_its_arguments_are_passed():
    by_position = FailedCall("ask", args=("hi",), arguments={"text": "hi", "tone": "kind"})
    by_name = FailedCall("ask", kwargs={"tone": "kind", "text": "hi"}, arguments={"tone": "kind", "text": "hi"})

    assert call_key(by_position) == call_key(by_name)
    assert call_key(by_position) != call_key(FailedCall("other", arguments={"text": "hi", "tone": "kind"}))


@dataclass
class Request:
    text: str
    parts: list[str]


class Client:
    pass


def test_objects_are_equal_by_their_fields_if_their_class_says_so_else_by_identity():
    client = Client()

    assert frozen(Request("a", ["b"])) == frozen(Request("a", ["b"]))
    assert frozen(Request("a", ["b"])) != frozen(Request("a", ["c"]))
    assert frozen(client) == frozen(client)
    assert frozen(client) != frozen(Client())


def test_a_key_keeps_no_object_alive_and_equals_no_later_one():
    client = Client()
    gone, key = weakref.ref(client), frozen(client)
    del client
    gc.collect()

    assert gone() is None
    assert all(frozen(other) != key for other in [Client() for _ in range(1_000)])


def test_what_cannot_be_compared_is_an_error_of_its_own():
    nested: list[object] = []
    nested.append(nested)
    with pytest.raises(UnkeyableError, match="nested too deeply"):
        frozen(nested)
    with pytest.raises(UnkeyableError, match="a bytearray can be neither hashed nor looked into"):
        frozen(bytearray(b"x"))
