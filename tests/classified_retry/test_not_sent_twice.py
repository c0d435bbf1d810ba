"""What must not be sent twice is not."""

from __future__ import annotations

import pytest

from resilient_ai import AIServiceError, AllEndpointsFailedError, ErrorType, classified_retry
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


class ConnectError(Exception):
    """Named like the HTTP clients' own."""


async def test_unsent_only_retries_what_proves_that_nothing_was_processed(registry, clock):
    behind = ProviderError("network_error")
    behind.__cause__ = ConnectError()
    reset = ProviderError("network_error")
    reset.__cause__ = ConnectionResetError()
    hidden = ConnectionError()  # as ollama raises it
    hidden.__context__ = ConnectError()
    everywhere = AllEndpointsFailedError(
        "ask", {"us": ConnectError(), "eu": reset}, error_types=dict.fromkeys(["us", "eu"], ErrorType.NETWORK_ERROR)
    )
    for error, attempts in (
        (ProviderError("rate_limit"), 6),
        (ProviderError("model_overloaded"), 5),
        (ProviderError("model_overloaded", in_stream=True), 1),
        (ConnectError(), 4),
        (behind, 4),
        (hidden, 4),
        (ConnectionRefusedError(), 4),
        (ConnectionResetError(), 1),
        (reset, 1),
        (everywhere, 1),
        (ProviderError("timeout"), 1),
        (ProviderError("internal_error"), 1),
    ):
        down = scripted(error)
        ask = classified_retry(f"{error!r}{attempts}", retry_unsent_only=True, registry=registry)(down)
        async with clock.autojump():
            with pytest.raises(AIServiceError):
                await ask()

        assert down.calls == attempts, repr(error)
