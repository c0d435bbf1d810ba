"""What tests of counting share: one answer, and how they read the book."""

from __future__ import annotations

from resilient_ai.providers import Reply
from resilient_ai.usage import Usage

ANSWER = Reply("hello", usage=Usage(10, 2), model="gpt")


def count(registry):
    """Begin to count."""
    assert len(registry.usage) == 0


def told(registry, name):
    """Endpoint, model, answers, tokens in and out, answers without usage."""
    return [
        (row.endpoint, row.model, row.calls, row.usage.input_tokens, row.usage.output_tokens, row.without_usage)
        for row in registry.usage[name]
    ]
