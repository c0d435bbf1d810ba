"""Tokens of answers, counted alike whoever gave them."""

from resilient_ai._usage.readers import usage_of
from resilient_ai._usage.usage import Usage

__all__ = ["Usage", "usage_of"]
