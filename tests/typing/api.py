"""Checked by mypy and pyright, never run: what users see."""

from typing import assert_type

from resilient_ai import ErrorType, Verdict, classify

assert_type(classify(ValueError()), Verdict)
assert_type(classify(ValueError()).error_type, ErrorType)
