"""Tokens of answers, counted in the same way for every provider, and their prices."""

from resilient_ai._core.usage import Usage
from resilient_ai._usage.readers import usage_of
from resilient_ai._usage.runs import report_usage

from ._genai_prices import genai_prices

__all__ = ["Usage", "genai_prices", "report_usage", "usage_of"]
