"""Whose call may share a batch, from its arguments."""

from __future__ import annotations

import inspect

from resilient_ai._batched.grouping import Grouping


def grouping(function, leading: int = 0) -> Grouping:
    return Grouping(inspect.signature(function), leading)


def test_names_given_by_position_only_are_no_keywords():
    async def embed(texts, model="m", /, **extra): ...

    key = grouping(embed).key

    assert key((), {}) == key(("m",), {})
    assert key(("x",), {}) != key((), {"model": "x"})
    assert key(("m",), {"model": "x"}) == key((), {"model": "x"})


def test_more_positional_arguments_and_keywords_than_names_make_groups_too():
    async def embed(texts, model="m", *rest, **extra): ...

    key = grouping(embed).key

    assert key(("m", 1), {}) != key(("m", 2), {})
    assert key(("m", 1), {"a": 1, "b": [2]}) == key(("m", 1), {"b": [2], "a": 1})
    assert key(("m",), {"a": 1}) != key(("m",), {"a": True})


def test_without_a_signature_arguments_are_taken_as_they_are():
    key = Grouping(None, 0).key

    assert key((), {}) == key((), {})
    assert key((1, []), {"b": 1, "a": {}}) == key((1, []), {"a": {}, "b": 1})
    assert key((1,), {}) != key((), {"x": 1})
    assert Grouping(None, 0).item_name is None


def test_the_item_may_be_named_where_it_has_a_name():
    async def embed(self, texts, *, model="m"): ...

    async def no_name(*texts): ...

    assert grouping(embed, 1).item_name == "texts"
    assert grouping(no_name).item_name is None
