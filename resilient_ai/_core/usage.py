"""`Usage`: the tokens of one answer, counted in the same way for every provider."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .checks import check_number
from .public import public


@public("usage")
@dataclass(frozen=True, slots=True)
class Usage:
    """
    Tokens of one answer, or of several added up.

    Attributes:
        input_tokens: All tokens read, including those from or to a cache.
        output_tokens: All tokens written, including reasoning.
        cache_read_tokens: The part of `input_tokens` read from a cache.
        cache_write_tokens: The part of `input_tokens` written to a cache.
        reasoning_tokens: The part of `output_tokens` spent on reasoning.

    Raises:
        ValueError: A number is negative, or none.

    Examples:
        >>> Usage(input_tokens=7, output_tokens=2) + Usage(input_tokens=1)
        Usage(input_tokens=8, output_tokens=2, cache_read_tokens=0, cache_write_tokens=0, reasoning_tokens=0)
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        try:
            if (
                self.input_tokens >= 0
                and self.output_tokens >= 0
                and self.cache_read_tokens >= 0
                and self.cache_write_tokens >= 0
                and self.reasoning_tokens >= 0
            ):
                return
        except TypeError:  # None or a text, say
            pass
        for each in fields(self):
            check_number(each.name, getattr(self, each.name), least=0, whole=True)

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    def __radd__(self, other: object) -> Usage:
        # sum() starts with 0.
        return self if other == 0 else NotImplemented
