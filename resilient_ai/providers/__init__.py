"""
Endpoints that talk to real providers: one way to ask, whatever the API below.

Each has `await complete(prompt)`, `stream(prompt)` and `await check()`, imports its SDK when it is first used, keeps
one client per event loop with the SDK's own retries off, and closes it with `aclose()` (or `async with`).

Parameters that mean the same everywhere have one name here: `system`, `max_tokens`, `temperature`, `top_p`, `stop`,
`timeout`. Beyond them an endpoint takes what its own API takes.
"""

from resilient_ai._core.errors import MissingKeyError, ParameterError

from ._anthropic import AnthropicEndpoint
from ._configuration import endpoints_from
from ._endpoint import EndpointReplyError, Prompt, ProviderEndpoint
from ._http import HTTPEndpoint
from ._openai import OpenAIEndpoint

__all__ = [
    "AnthropicEndpoint",
    "EndpointReplyError",
    "HTTPEndpoint",
    "MissingKeyError",
    "OpenAIEndpoint",
    "ParameterError",
    "Prompt",
    "ProviderEndpoint",
    "endpoints_from",
]
