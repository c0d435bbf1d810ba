"""For web applications: the status of an error, and streams whose first item is there before the reply begins."""

from ._started import started
from ._status import http_status

__all__ = ["http_status", "started"]
