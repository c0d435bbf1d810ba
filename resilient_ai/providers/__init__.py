"""
Endpoints for real providers, with the same methods for every API.

Each has `await complete(prompt)`, `stream(prompt)` and `await check()`, imports its SDK at the first use, keeps one
client per event loop with the SDK's own retries off, and closes it with `aclose()` (or `async with`). For plain code
each has a twin, `endpoint.sync`, whose methods block.

Common parameters have the same name for all APIs: `system`, `max_tokens`, `temperature`, `top_p`, `stop`, `timeout`.
Besides these, an endpoint accepts the parameters of its own API.
"""

from resilient_ai._core.errors import MissingKeyError, ParameterError
from resilient_ai._usage.reply import Reply, ToolCall

from ._anthropic import AnthropicEndpoint
from ._configuration import endpoints_from
from ._endpoint import ProviderEndpoint
from ._errors import ContentFilterError, EndpointReplyError, InvalidOutputError
from ._google import GoogleEndpoint
from ._http import HTTPEndpoint
from ._messages import Prompt
from ._openai import OpenAIEndpoint
from ._stream import ReplyStream
from ._sync import SyncEndpoint, SyncReplyStream

__all__ = [
    "AnthropicEndpoint",
    "ContentFilterError",
    "EndpointReplyError",
    "GoogleEndpoint",
    "HTTPEndpoint",
    "InvalidOutputError",
    "MissingKeyError",
    "OpenAIEndpoint",
    "ParameterError",
    "Prompt",
    "ProviderEndpoint",
    "Reply",
    "ReplyStream",
    "SyncEndpoint",
    "SyncReplyStream",
    "ToolCall",
    "endpoints_from",
]
