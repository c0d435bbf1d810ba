"""
Endpoints that talk to real providers: one way to ask, whatever the API below.

Each has `await complete(prompt)`, `stream(prompt)` and `await check()`, imports its SDK when it is first used, keeps
one client per event loop with the SDK's own retries off, and closes it with `aclose()` (or `async with`). For plain
code each has a twin, `endpoint.sync`, whose methods block.

Parameters that mean the same everywhere have one name here: `system`, `max_tokens`, `temperature`, `top_p`, `stop`,
`timeout`. Beyond them an endpoint takes what its own API takes.
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
