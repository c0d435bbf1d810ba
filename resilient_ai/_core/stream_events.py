from __future__ import annotations


def report_event() -> None: ...
