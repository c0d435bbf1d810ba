"""What a web application answers when a call to a provider fails, and streams that have begun before its reply does."""

from ._started import started
from ._status import http_status

__all__ = ["http_status", "started"]
