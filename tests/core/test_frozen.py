"""Two values have equal twins exactly when they are the same, however they nest, and a twin keeps no client alive."""

from __future__ import annotations

import copy
import gc
import weakref
from array import array
from collections import Counter, OrderedDict, UserDict, defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai._core.frozen import UnkeyableError, frozen

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
def test_twins_are_equal_exactly_when_types_and_values_are(one, other):
    assert (frozen(one) == frozen(other)) == (told_apart(one) == told_apart(other))


@given(PLAIN)
def test_a_copy_has_the_same_twin_and_hash(value):
    twin = frozen(copy.deepcopy(value))

    assert frozen(value) == twin
    assert hash(frozen(value)) == hash(twin)


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


def test_a_twin_keeps_no_object_alive_and_equals_no_later_one():
    client = Client()
    gone, key = weakref.ref(client), frozen(client)
    del client
    gc.collect()

    assert gone() is None
    assert all(frozen(other) != key for other in [Client() for _ in range(1_000)])


class Texts(list):
    """A list of one's own, with a field beside its members."""

    def __init__(self, *texts, language="en"):
        super().__init__(texts)
        self.language = language


class Pair(tuple):
    __hash__ = None


class Labels(set):
    __slots__ = ()


@dataclass(slots=True)
class Slotted:
    text: object


class Sealed:
    """Its only field has no place in a `__dict__`, and nobody else may read it by its name."""

    __slots__ = ("__dict__", "__text")

    def __init__(self, text):
        self.__text = text

    def __eq__(self, other):
        return self.__text == other.__text


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda text: OrderedDict(text=text), id="OrderedDict"),
        pytest.param(lambda text: defaultdict(list, text=text), id="defaultdict"),
        pytest.param(lambda text: Counter([text]), id="Counter"),
        pytest.param(lambda text: UserDict(text=text), id="UserDict"),
        pytest.param(lambda text: Texts(text), id="a list"),
        pytest.param(lambda text: Texts(language=text), id="a field of a list"),
        pytest.param(lambda text: Pair([text]), id="a tuple"),
        pytest.param(lambda text: Labels([text]), id="a set"),
        pytest.param(lambda text: Slotted([text]), id="slots"),
        pytest.param(Sealed, id="a private slot"),
    ],
)
def test_every_member_and_field_of_an_object_counts_wherever_it_is_kept(make):
    assert frozen([make("a")]) == frozen([make("a")])
    assert frozen([make("a")]) != frozen([make("b")])


def test_the_order_counts_where_two_dicts_are_told_apart_by_it():
    assert frozen(OrderedDict(a=1, b=2)) != frozen(OrderedDict(b=2, a=1))
    assert frozen({"a": 1, "b": 2}) == frozen({"b": 2, "a": 1})


def test_an_object_that_is_equal_to_itself_alone_is_not_taken_for_another_with_its_fields():
    class Session:
        __hash__ = None

    one, other = Session(), Session()

    assert frozen(one, opaque=id) == frozen(one, opaque=id) != frozen(other, opaque=id)


def test_what_is_hidden_from_python_is_an_error():
    class Vector(array):
        """Has a `__dict__`, in which its numbers are not."""

    with pytest.raises(UnkeyableError, match="Vector can be neither hashed nor looked into"):
        frozen(Vector("d", [1.0]))


def nested(depth):
    value = ("deep",)
    for _ in range(depth):
        value = (value,)
    return value


def containing_itself():
    value = ["a list"]
    value.append({"itself": value})
    return value


def doubled(times):
    value = ["a"]
    for _ in range(times):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(nested(2_000), "nested too deeply", id="deep"),
        pytest.param(containing_itself(), "nested too deeply", id="itself"),
        pytest.param(doubled(18), "too large", id="the same list over and over"),
        pytest.param([*range(9_999), "and", "text"], "too large", id="long"),
    ],
)
def test_what_is_too_deep_or_too_large_is_an_error_of_its_own(value, message):
    with pytest.raises(UnkeyableError, match=message):
        frozen(value)


def test_a_long_list_of_numbers_is_not_too_large():
    tokens = list(range(100_000))

    assert frozen(tokens) == frozen([*tokens])
    assert frozen(tokens) != frozen([*tokens[:-1], 0])
    assert frozen(tokens) != frozen([float(token) for token in tokens])


def test_what_cannot_be_looked_into_is_an_error_or_whatever_the_caller_says():
    buffer = bytearray(b"x")
    with pytest.raises(UnkeyableError, match="a bytearray can be neither hashed nor looked into"):
        frozen([buffer])

    assert frozen([buffer], opaque=id) == frozen([buffer], opaque=id)
    assert frozen([buffer], opaque=id) != frozen([bytearray(b"x")], opaque=id)
