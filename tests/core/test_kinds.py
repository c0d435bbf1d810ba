"""What a message calls a value that it must not show."""

import pytest

from resilient_ai import Registry
from resilient_ai._core.kinds import kind_of, with_article


@pytest.mark.parametrize(
    ("value", "kind"),
    [(5, "an int"), ("five", "a str"), (object(), "an object"), (None, "a NoneType"), (Registry(), "a Registry")],
)
def test_the_kind_of_a_value_has_its_article(value, kind):
    assert kind_of(value) == kind


@pytest.mark.parametrize(
    "name", ["an HTTPEndpoint", "an OpenAI", "an _Iterator", "a UUID", "a Usage", "a Union", "a URL"]
)
def test_the_article_follows_how_a_name_is_spoken(name):
    assert with_article(name.split()[1]) == name
