"""Prices from pydantic's table."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from resilient_ai._core.public import public
from resilient_ai._core.usage import Usage

_PROVIDERS: Final = (None, "openai", "anthropic", "google")  # None: found by the name of the model


@public("usage")
def genai_prices() -> Callable[[str, Usage], float | None]:
    """
    Prices from the package genai-prices: `registry.price = genai_prices()`.

    An estimate: the package knows list prices of tokens, but neither your contract nor the fees of a provider's own
    tools. It is imported at the first answer, which takes about a second; each price takes about 0.2 ms.

    Returns:
        A function from a model's name and a usage to USD, or None for a model that is not in the table.

    Raises:
        ImportError: The package is not installed: `pip install 'resilient-ai[prices]'`.
    """
    if importlib.util.find_spec("genai_prices") is None:
        raise ImportError("genai_prices() needs the package genai-prices: pip install 'resilient-ai[prices]'")

    def price(model: str, usage: Usage) -> float | None:
        import genai_prices as table

        told: Any = table.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        )
        for provider in _PROVIDERS:
            with suppress(LookupError):
                return float(table.calc_price(told, model_ref=model, provider_id=provider).total_price)
        return None

    return price
