"""Messages in OpenAI's form, with images, documents and system texts, at every API."""

from __future__ import annotations

import pytest
from google.genai import types

from resilient_ai.providers import ParameterError
from resilient_ai.testing import FakeProvider
from tests.providers.support import VENDORS, make

PNG = "iVBORw0KGgo="
PDF = "JVBERi0xLjQ="
TIFF = "data:image/tiff;base64,AAAA"
TEXT = {"type": "text", "text": "what is this"}
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}}
FLAT_IMAGE = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "low"}
REMOTE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.webp?x=1"}}
FILE = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}}
SOUND = {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}


@pytest.fixture
def provider():
    with FakeProvider("moon") as provider:
        yield provider


async def sent(provider, kind, *messages, **params) -> dict:
    async with make(kind, provider) as endpoint:
        assert await endpoint.complete(list(messages), **params) == "[moon] what is this"
    return provider.requests[-1].body


def user(*parts) -> dict:
    return {"role": "user", "content": list(parts)}


def google_part(body: dict) -> tuple[str, str]:
    """Type, and bytes or address, of the second part; the API takes names in both spellings."""
    part = body["contents"][0]["parts"][1]
    about = part.get("inlineData") or part.get("fileData") or part.get("inline_data") or part["file_data"]
    about = {name.replace("_", "").lower(): value for name, value in about.items()}
    return about["mimetype"], about.get("data") or about["fileuri"]


@pytest.mark.parametrize("image", [IMAGE, FLAT_IMAGE], ids=["chat's form", "Responses' form"])
async def test_an_image_is_sent_as_each_api_wants_it(provider, image):
    message = user(TEXT, image)
    chat = await sent(provider, "openai", message)
    responses = await sent(provider, "responses", message)
    claude = await sent(provider, "anthropic", message)
    gemini = await sent(provider, "google", message)

    assert chat["messages"][0]["content"] == [TEXT, IMAGE]
    assert responses["input"][0]["content"] == [{"type": "input_text", "text": "what is this"}, FLAT_IMAGE]
    assert claude["messages"][0]["content"] == [
        TEXT,
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    ]
    assert google_part(gemini) == ("image/png", PNG)


async def test_the_address_of_an_image_is_passed_on(provider):
    message = user(TEXT, REMOTE)
    url = REMOTE["image_url"]["url"]
    responses = await sent(provider, "responses", message)
    claude = await sent(provider, "anthropic", message)
    gemini = await sent(provider, "google", message)

    assert responses["input"][0]["content"][1] == {"type": "input_image", "image_url": url, "detail": "auto"}
    assert claude["messages"][0]["content"][1] == {"type": "image", "source": {"type": "url", "url": url}}
    assert google_part(gemini) == ("image/webp", url)


async def test_a_document_is_sent_as_each_api_wants_it(provider):
    message = user(TEXT, FILE)
    chat = await sent(provider, "openai", message)
    responses = await sent(provider, "responses", message)
    claude = await sent(provider, "anthropic", message)
    gemini = await sent(provider, "google", message)

    assert chat["messages"][0]["content"][1] == FILE
    assert responses["input"][0]["content"][1] == {
        "type": "input_file",
        "file_data": f"data:application/pdf;base64,{PDF}",
        "filename": "a.pdf",
    }
    assert claude["messages"][0]["content"][1] == {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
    }
    assert google_part(gemini) == ("application/pdf", PDF)


async def test_sound_goes_where_it_is_taken(provider):
    chat = await sent(provider, "openai", user(TEXT, SOUND))
    gemini = await sent(provider, "google", user(TEXT, SOUND))

    assert chat["messages"][0]["content"][1] == SOUND
    assert google_part(gemini) == ("audio/wav", PNG)
    with pytest.raises(ParameterError, match="Anthropic's API takes no audio"):
        await sent(provider, "anthropic", user(TEXT, SOUND))


async def test_an_image_in_the_result_of_a_tool_goes_where_it_is_taken(provider):
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        user(TEXT),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "a cat"}, IMAGE]},
    ]
    async with make("anthropic", provider) as endpoint:
        await endpoint.complete(messages)
    async with make("responses", provider) as endpoint:
        await endpoint.complete(messages)
    claude, responses = (request.body for request in provider.requests)

    assert [block["type"] for block in claude["messages"][2]["content"][0]["content"]] == ["text", "image"]
    assert [part["type"] for part in responses["input"][2]["output"]] == ["input_text", "input_image"]
    async with make("google", provider) as endpoint:
        with pytest.raises(ParameterError, match="Google's API takes texts as results of tools"):
            await endpoint.complete(messages)


async def test_system_messages_become_the_system_text(provider):
    messages = [
        {"role": "system", "content": "be brief"},
        user(TEXT),
        {"role": "assistant", "content": "what?"},
        {"role": "developer", "content": [{"type": "text", "text": "be kind"}]},
        user(TEXT),
    ]
    claude = await sent(provider, "anthropic", *messages, system="be there")
    gemini = await sent(provider, "google", *messages, system="be there")
    responses = await sent(provider, "responses", *messages, system="be there")

    assert claude["system"] == gemini["systemInstruction"]["parts"][0]["text"] == "be there\n\nbe brief\n\nbe kind"
    assert [each["role"] for each in claude["messages"]] == ["user", "assistant", "user"]
    assert [each["role"] for each in gemini["contents"]] == ["user", "model", "user"]
    assert responses["instructions"] == "be there"
    assert [each["role"] for each in responses["input"]] == ["system", "user", "assistant", "developer", "user"]


@pytest.mark.parametrize("kind", VENDORS)
async def test_an_empty_answer_of_the_assistant_does_not_make_a_message_that_the_api_refuses(provider, kind):
    messages = [user(TEXT), {"role": "assistant", "content": ""}, user(TEXT)]

    await sent(provider, kind, *messages)


async def test_messages_in_the_form_of_an_api_are_taken_there(provider):
    block = {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}}
    claude = await sent(provider, "anthropic", user(TEXT, block))
    mapping = {"role": "user", "parts": [{"text": "what is this"}]}
    one = await sent(provider, "google", mapping)
    content = types.Content(role="user", parts=[types.Part(text="what is this")])
    other = await sent(provider, "google", content)
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    responses = await sent(provider, "responses", user(TEXT), item)

    assert claude["messages"][0]["content"][1] == block
    assert one["contents"] == other["contents"] == [mapping]
    assert responses["input"][1] == item


@pytest.mark.parametrize(
    ("kind", "message", "problem"),
    [
        ("openai", user(TEXT, {"type": "image", "source": {}}), "a part of type 'image' is in a form that chat"),
        ("openai", {"role": "user", "parts": [{"text": "x"}]}, "a message is in a form that chat completions do not"),
        ("responses", user({"type": "image", "source": {}}), "a part of type 'image' is in a form that Responses"),
        ("responses", {"role": "user", "parts": [{"text": "x"}]}, "a message is in a form that Responses do not"),
        ("anthropic", {"role": "user", "parts": [{"text": "x"}]}, "a message of role .user. is in a form"),
        ("anthropic", user({"type": "image_url", "image_url": {}}), "has a part of type .* that cannot be read"),
        ("anthropic", user({"type": "image_url", "image_url": {"url": TIFF}}), "images of type .*not image/tiff"),
        ("google", user({"type": "image", "source": {}}), "a part of type 'image' is in a form that Google's API"),
        ("google", {"role": "bot", "content": "x"}, "a message of role .bot. is in a form"),
        ("openai", {"role": "user", "content": 5}, "has an int as content; it must be a text or a list of parts"),
        ("openai", {"role": "user", "content": [5]}, "has an int among its parts"),
        ("openai", {"role": "assistant", "tool_calls": [5]}, "has a tool call that cannot be read"),
        ("openai", {"role": "tool", "content": "x"}, "must have a 'tool_call_id'"),
        ("google", user({"type": "image_url", "image_url": {"url": "data:image/png,raw"}}), "cannot be read"),
        ("google", user({"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}}), "cannot be read"),
    ],
    ids=lambda value: value if value in VENDORS else None,
)
async def test_what_an_api_cannot_say_is_refused_before_anything_is_sent(provider, kind, message, problem):
    async with make(kind, provider) as endpoint:
        with pytest.raises(ParameterError, match=problem):
            await endpoint.complete([message])

    assert provider.count() == 0


async def test_the_form_of_an_image_does_not_change_the_callers_messages(provider):
    message = user(TEXT, FLAT_IMAGE)
    before = repr(message)
    for kind in VENDORS:
        await sent(provider, kind, message)

    assert repr(message) == before
