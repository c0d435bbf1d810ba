"""Endpoints of every kind, all before one pretend provider."""

from __future__ import annotations

from typing import Any

from resilient_ai.providers import AnthropicEndpoint, GoogleEndpoint, HTTPEndpoint, OpenAIEndpoint, ProviderEndpoint
from resilient_ai.testing import FakeProvider

VENDORS = ["openai", "responses", "anthropic", "google"]
KINDS = [*VENDORS, "http"]
KEY = "sk-planted-1234"


def make(kind: str, provider: FakeProvider, name: str = "here", **more: Any) -> ProviderEndpoint:
    """An endpoint of this kind whose provider is the pretend one."""
    if kind == "openai":
        return OpenAIEndpoint(name, model="gpt-4o-mini", api_key=KEY, base_url=provider.base_url, **more)
    if kind == "responses":
        return OpenAIEndpoint(name, model="gpt-5", api="responses", api_key=KEY, base_url=provider.base_url, **more)
    if kind == "anthropic":
        return AnthropicEndpoint(name, model="claude-haiku-4-5", api_key=KEY, base_url=provider.url, **more)
    if kind == "google":
        return GoogleEndpoint(name, model="gemini-3-flash", api_key=KEY, base_url=provider.url, **more)
    return HTTPEndpoint(name, url=f"{provider.url}/complete", headers={"authorization": f"Bearer {KEY}"}, **more)
