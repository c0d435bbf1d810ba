"""One call through each real SDK, against a server of our own. An SDK that is not installed is left out."""

from __future__ import annotations

import importlib.util
import ssl
import warnings
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_HI = [{"role": "user", "content": "hi"}]


@cache
def _tls() -> ssl.SSLContext:
    """Reading the machine's certificates takes longer than all the rest of a call; once will do."""
    return ssl.create_default_context()


@contextmanager
def quiet() -> Iterator[None]:
    """Let SDKs be as they are: some warn of themselves while they are imported or closed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _httpx2(timeout: float) -> Any:
    import httpx2

    return httpx2.AsyncClient(verify=_tls(), timeout=timeout)


def _httpx(timeout: float) -> Any:
    import httpx

    return httpx.AsyncClient(verify=_tls(), timeout=timeout)


async def _drain(stream: Any) -> list[Any]:
    return [item async for item in stream]


async def _openai_like(client: Any, api: str, stream: bool) -> Any:
    async with client:
        if api == "embeddings":
            return await client.embeddings.create(model="m", input="hi")
        if api == "responses":
            result = await client.responses.create(model="m", input="hi", stream=stream)
        else:
            result = await client.chat.completions.create(model="m", messages=_HI, stream=stream)
        return await _drain(result) if stream else result


async def openai(url: str, api: str, stream: bool, timeout: float) -> Any:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(
        api_key="sk-planted", base_url=f"{url}/v1", max_retries=0, timeout=timeout, http_client=_httpx2(timeout)
    )
    return await _openai_like(client, api, stream)


async def azure(url: str, api: str, stream: bool, timeout: float) -> Any:
    from openai import AsyncAzureOpenAI

    client = AsyncAzureOpenAI(
        api_key="planted",
        azure_endpoint=url,
        api_version="2024-10-21",
        max_retries=0,
        timeout=timeout,
        http_client=_httpx2(timeout),
    )
    return await _openai_like(client, api, stream)


async def groq(url: str, api: str, stream: bool, timeout: float) -> Any:
    from groq import AsyncGroq

    return await _openai_like(
        AsyncGroq(api_key="gsk_planted", base_url=url, max_retries=0, timeout=timeout, http_client=_httpx(timeout)),
        api,
        stream,
    )


async def together(url: str, api: str, stream: bool, timeout: float) -> Any:
    from together import AsyncTogether

    return await _openai_like(
        AsyncTogether(api_key="planted", base_url=url, max_retries=0, timeout=timeout, http_client=_httpx(timeout)),
        api,
        stream,
    )


async def anthropic(url: str, api: str, stream: bool, timeout: float) -> Any:
    from anthropic import AsyncAnthropic

    async with AsyncAnthropic(
        api_key="planted", base_url=url, max_retries=0, timeout=timeout, http_client=_httpx2(timeout)
    ) as client:
        result = await client.messages.create(model="m", max_tokens=5, messages=_HI, stream=stream)  # type: ignore[arg-type]
        return await _drain(result) if stream else result


async def _google(url: str, stream: bool, timeout: float, **args: Any) -> Any:
    from google import genai
    from google.genai import types

    options = types.HttpOptions(
        base_url=url, timeout=int(timeout * 1000), retry_options=types.HttpRetryOptions(attempts=1), **args
    )
    client = genai.Client(api_key="AIzaPlanted", http_options=options)
    try:
        if stream:
            return await _drain(await client.aio.models.generate_content_stream(model="m", contents="hi"))
        return await client.aio.models.generate_content(model="m", contents="hi")
    finally:
        await client.aio.aclose()
        client.close()


async def google(url: str, api: str, stream: bool, timeout: float) -> Any:
    return await _google(url, stream, timeout)


async def google_httpx2(url: str, api: str, stream: bool, timeout: float) -> Any:
    import httpx2

    return await _google(
        url, stream, timeout, async_client_args={"transport": httpx2.AsyncHTTPTransport(verify=_tls())}
    )


@cache
def _aws() -> Any:
    from aiobotocore.session import get_session

    return get_session()


async def bedrock(url: str, api: str, stream: bool, timeout: float) -> Any:
    from aiobotocore.config import AioConfig

    config = AioConfig(
        retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=timeout, connect_timeout=timeout
    )
    async with _aws().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="AKIAPLANTED",
        aws_secret_access_key="planted",
        config=config,
    ) as client:
        messages = [{"role": "user", "content": [{"text": "hi"}]}]
        if api == "converse_stream" or stream:
            result = await client.converse_stream(modelId="m", messages=messages)
            return await _drain(result["stream"])
        return await client.converse(modelId="m", messages=messages)


async def mistral(url: str, api: str, stream: bool, timeout: float) -> Any:
    from mistralai.client import Mistral

    async with Mistral(
        api_key="planted", server_url=url, timeout_ms=int(timeout * 1000), async_client=_httpx2(timeout)
    ) as client:
        if stream:
            return await _drain(await client.chat.stream_async(model="m", messages=_HI))  # type: ignore[arg-type]
        return await client.chat.complete_async(model="m", messages=_HI)  # type: ignore[arg-type]


async def cohere(url: str, api: str, stream: bool, timeout: float) -> Any:
    from cohere import AsyncClientV2

    async with AsyncClientV2(
        api_key="planted", base_url=url, timeout=timeout, max_retries=0, httpx_client=_httpx(timeout)
    ) as client:
        if stream:
            return await _drain(client.chat_stream(model="m", messages=_HI))  # type: ignore[arg-type]
        return await client.chat(model="m", messages=_HI)  # type: ignore[arg-type]


async def ollama(url: str, api: str, stream: bool, timeout: float) -> Any:
    from ollama import AsyncClient

    client = AsyncClient(host=url, timeout=timeout, verify=_tls())
    try:
        result = await client.chat(model="m", messages=_HI, stream=stream)  # type: ignore[call-overload]
        return await _drain(result) if stream else result
    finally:
        await client._client.aclose()


async def httpx(url: str, api: str, stream: bool, timeout: float) -> Any:
    async with _httpx(timeout) as client:
        answer = await client.post(url, json={"messages": _HI})
        return answer.raise_for_status().json()


async def httpx2(url: str, api: str, stream: bool, timeout: float) -> Any:
    async with _httpx2(timeout) as client:
        answer = await client.post(url, json={"messages": _HI})
        return answer.raise_for_status().json()


async def aiohttp(url: str, api: str, stream: bool, timeout: float) -> Any:
    import aiohttp

    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as session,
        session.post(url, json={"messages": _HI}) as answer,
    ):
        answer.raise_for_status()
        return await answer.json()


_MODULES = {
    "openai": (openai, "openai"),
    "azure": (azure, "openai"),
    "groq": (groq, "groq"),
    "together": (together, "together"),
    "anthropic": (anthropic, "anthropic"),
    "google": (google, "google.genai"),
    "google_httpx2": (google_httpx2, "google.genai"),
    "bedrock": (bedrock, "aiobotocore"),
    "mistral": (mistral, "mistralai"),
    "cohere": (cohere, "cohere"),
    "ollama": (ollama, "ollama"),
    "httpx": (httpx, "httpx"),
    "httpx2": (httpx2, "httpx2"),
    "aiohttp": (aiohttp, "aiohttp"),
}


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


CLIENTS = {name: call for name, (call, module) in _MODULES.items() if _installed(module)}
