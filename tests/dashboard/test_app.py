"""The live page as an ASGI app: who may look, who may act, what is told, and nothing that was not meant to be."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import CircuitState, ErrorType, Registry, circuit_breaker
from resilient_ai.dashboard import anyone, basic, bearer, dashboard
from resilient_ai.events import OperatorActed
from tests.dashboard.support import US, act, login, program, request
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")
SECRET = "sk-live-0123456789abcdef"


async def us_is_down(endpoint, text):
    if endpoint is US:
        raise ProviderError(ErrorType.MODEL_OVERLOADED)
    return text


@pytest.fixture
def app(registry):
    program(registry, us_is_down)
    return dashboard(registry, view=anyone, act=anyone_may)


def anyone_may(scope, action):
    return True


def test_nobody_is_let_in_by_default(registry):
    with pytest.raises(TypeError, match="view"):
        dashboard(registry)


@pytest.mark.parametrize("path", ["/", "/app.js", "/app.css", "/snapshot.json", "/settings.json", "/other"])
async def test_nothing_is_shown_to_whom_view_refuses(registry, path):
    asked = []
    app = dashboard(registry, view=lambda scope: asked.append(scope["path"]))

    reply = await request(app, path)
    assert (reply.status, reply.json(), asked) == (403, {"error": "not allowed to look"}, [path])


@pytest.mark.parametrize("answer", [None, False, 0, 1, "", [True]])
async def test_only_true_or_a_name_lets_in(registry, answer):
    assert (await request(dashboard(registry, view=lambda scope: answer))).status == 403


async def test_view_may_be_async(registry):
    async def view(scope):
        return "eve"

    assert (await request(dashboard(registry, view=view))).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (login("ops", "s3cret:x"), 200),
        (login("ops", "wrong"), 401),
        (login("eve", "s3cret:x"), 401),
        ({"authorization": "Basic ???"}, 401),
        ({"authorization": "Bearer b3BzOnMzY3JldDp4"}, 401),
        ({}, 401),
    ],
)
async def test_basic_asks_for_a_name_and_a_password(registry, headers, status):
    reply = await request(dashboard(registry, view=basic("ops", "s3cret:x")), headers=headers)

    assert reply.status == status
    assert status == 200 or reply.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize(("given", "status"), [("Bearer t0ken", 200), ("bearer t0ken", 200), ("Bearer t0ke", 401)])
async def test_bearer_asks_for_a_token(registry, given, status):
    assert (await request(dashboard(registry, view=bearer("t0ken")), headers={"authorization": given})).status == status


@pytest.mark.parametrize(
    ("check", "secret"), [(basic, ("", "x")), (basic, ("a", "")), (basic, ("a:b", "x")), (bearer, ("",))]
)
def test_an_empty_secret_is_refused(check, secret):
    with pytest.raises(ValueError, match="empty"):
        check(*secret)


@pytest.mark.parametrize("path", ["/", "/app.js", "/snapshot.json", "/nothing"])
async def test_every_reply_forbids_scripts_of_others_frames_and_caches(app, path):
    headers = (await request(app, path)).headers

    assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


async def test_the_page_has_no_inline_script_or_style_and_no_link_to_elsewhere(app):
    page = (await request(app)).body.decode()

    assert [each for each in ("style=", "<style", "onclick", "http") if each in page] == []
    assert page.count("<script") == page.count('<script src="app.js" defer></script>') == 1


@pytest.mark.parametrize(
    ("scope", "location"),
    [
        ({"path": "/resilience", "root_path": "/resilience"}, "resilience/"),
        ({"path": "/a/b", "root_path": "/a/b"}, "b/"),
    ],
)
async def test_a_mounted_page_is_sent_to_the_address_its_relative_links_need(app, scope, location):
    reply = await request(app, **scope)

    assert (reply.status, reply.headers["location"]) == (307, location)


async def test_it_works_below_any_prefix(app):
    for path in ("/x/y/", "/x/y/app.js", "/x/y/snapshot.json"):
        assert (await request(app, path, root_path="/x/y")).status == 200


async def test_head_gives_the_headers_alone(app):
    reply = await request(app, "/app.js", "HEAD")

    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["content-length"]) > 1000


async def test_a_server_that_asks_for_the_lifespan_is_answered(app):
    messages, told = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}], []

    async def receive():
        return messages.pop(0)

    async def send(message):
        told.append(message["type"])

    await app({"type": "lifespan"}, receive, send)

    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# -- what is shown


async def test_a_snapshot_tells_what_is_wrong_and_why(registry):
    ask = program(registry, us_is_down)
    app = dashboard(registry, view=anyone)
    registry.circuit_breakers["ask[eu-west]"].trip()
    await ask("a")
    rows = {row["name"]: row for row in (await request(app, "/snapshot.json")).json()["rows"]}

    assert rows["us-east"]["state"] == "resting 30.0 s (model_overloaded)"
    assert rows["us-east"]["tone"] == "bad"
    assert rows["ask[eu-west]"]["why"] == "tripped by an operator"
    assert rows["ask[eu-west]"]["refused"] == 1
    assert [row["label"] for row in rows.values()][:2] == ["ask", "ask[us-east]"]
    assert [*rows][-2:] == ["us-east", "eu-west"]


async def test_only_new_events_are_told_to_the_page_that_has_seen_the_others(registry):
    ask, app = program(registry, us_is_down), dashboard(registry, view=anyone)
    await ask("a")
    first = (await request(app, "/snapshot.json")).json()
    version = max(each["version"] for each in first["events"])
    again = (await request(app, f"/snapshot.json?after={first['process'].replace(':', '%3A')}~{version}")).json()
    another = (await request(app, f"/snapshot.json?after=other~{version}")).json()

    assert [each["kind"] for each in first["events"]][-2:] == ["endpoint_down", "failed_over"]
    assert again["events"] == []
    assert another["events"] == first["events"]


async def test_a_flood_of_one_kind_is_one_line_with_a_count_and_the_page_stays_small(registry, clock):
    app = dashboard(registry, view=anyone)
    for number in range(1_000):
        for _ in range(3):
            registry.emit(OperatorActed(f"state {number % 400}", "endpoint", "mark_up", "eve"))
    events = (await request(app, "/snapshot.json")).json()["events"]

    assert len(events) == 200
    assert {each["times"] for each in events} <= {3, 6, 9}


async def test_thousands_of_keys_are_a_count_and_the_worst_twenty(registry):
    outcomes = [ProviderError(ErrorType.MODEL_OVERLOADED)] * 30 + ["a"]
    ask = circuit_breaker("ask", key=lambda text: text, failure_threshold=1, registry=registry)(scripted(*outcomes))
    for number in range(2_000):
        with contextlib.suppress(ProviderError):
            await ask(f"tenant {number}")
    reply = await request(dashboard(registry, view=anyone), "/snapshot.json")
    rows = reply.json()["rows"]

    assert rows[0]["label"] == "ask (2000 keys)"
    assert rows[0]["state"] == "1970 closed, 30 open"
    assert [row["state"][:4] for row in rows[1:]] == ["open"] * 20
    assert len(reply.body) < 10_000


async def test_settings_say_where_each_comes_from(registry):
    ask = program(registry, us_is_down)
    registry.configure({"ask": {"circuit_breaker": {"recovery_timeout": 7}}})
    functions = (await request(dashboard(registry, view=anyone), "/settings.json")).json()["functions"]

    [circuit] = [layer for layer in functions[0]["layers"] if layer["policy"] == "circuit_breaker"]
    values = {name: (value, origin) for name, value, origin in circuit["values"]}
    assert values["failure_threshold"] == ("2", "decorator")
    assert values["recovery_timeout"][0] in ("7", "7.0")
    assert values["recovery_timeout"][1].startswith("configure")
    assert values["success_threshold"] == ("3", "default")
    del ask


async def test_no_text_of_an_error_is_on_the_page(registry):
    async def leaks(endpoint, text):
        raise ConnectionError(f"{SECRET} {text}")

    app = dashboard(registry, view=basic("ops", SECRET))
    await program(registry, leaks)("my prompt")
    for path in ("/", "/snapshot.json", "/settings.json"):
        told = (await request(app, path, headers=login("ops", SECRET))).body.decode()

        assert SECRET not in told
        assert "my prompt" not in told


# -- acting


async def test_without_act_there_is_no_route_and_no_button(registry):
    program(registry, us_is_down)
    app = dashboard(registry, view=anyone)

    assert (await act(app)).status == 405
    assert (await request(app, "/snapshot.json")).json()["actions"] == {}
    assert registry.circuit_breakers["ask[us-east]"].state is CircuitState.CLOSED


@pytest.mark.parametrize(
    ("do", "state"),
    [("trip", "open"), ("force_open", "forced_open"), ("disable", "disabled"), ("metrics_only", "metrics_only")],
)
async def test_an_action_is_done(registry, app, do, state):
    reply = await act(app, do=do)

    assert (reply.status, registry.circuit_breakers["ask[us-east]"].state) == (200, state)


async def test_an_endpoint_is_marked_down_and_up(registry, app):
    await act(app, "endpoint", "us-east", "mark_down")
    down = registry.endpoints["us-east"].stats().healthy
    await act(app, "endpoint", "us-east", "mark_up")

    assert (down, registry.endpoints["us-east"].stats().healthy) == (False, True)


@pytest.mark.parametrize(
    ("view", "may", "headers", "who"),
    [
        (anyone, lambda scope, action: "eve", {}, "eve"),
        (basic("ops", "x"), lambda scope, action: True, login("ops", "x"), "ops"),
        (anyone, lambda scope, action: True, {}, "somebody at 10.1.2.3"),
    ],
)
async def test_an_event_says_who_did_what(registry, events, view, may, headers, who):
    program(registry, us_is_down)
    await act(dashboard(registry, view=view, act=may), headers=headers)

    assert [each for each in events if type(each) is OperatorActed] == [
        OperatorActed("ask[us-east]", "circuit_breaker", "force_open", who)
    ]


async def test_act_is_asked_about_each_action_and_may_refuse(registry):
    asked = []
    program(registry, us_is_down)
    app = dashboard(registry, view=anyone, act=lambda scope, action: asked.append(action))
    reply = await act(app)

    assert (reply.status, reply.json()["error"]) == (403, "you may not force open this")
    assert [tuple(each) for each in asked] == [("circuit_breaker", "ask[us-east]", "force_open")]
    assert registry.circuit_breakers["ask[us-east]"].state is CircuitState.CLOSED


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"x-resilient-ai": "0"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"process": "another:1:ab"}, 409),
        ({"do": "explode"}, 400),
        ({"do": "__init__"}, 400),
        ({"kind": "classified_retry", "do": "reset"}, 400),
        ({"name": "nobody"}, 404),
        ({"name": "x" * 5_000}, 413),
    ],
)
async def test_an_action_that_is_not_right_is_refused_and_changes_nothing(registry, app, how, status):
    assert (await act(app, **how)).status == status
    assert registry.circuit_breakers["ask[us-east]"].state is CircuitState.CLOSED


@pytest.mark.parametrize("body", [b"[" * 4_000, b"1" * 4_096, b"\xff", b"null"])
async def test_a_body_that_cannot_be_read_is_refused_as_that(app, body):
    assert (await request(app, "/actions", "POST", body, {"x-resilient-ai": "1"})).status == 400


async def test_a_trip_against_another_operators_word_is_refused_with_the_reason(registry, app):
    registry.circuit_breakers["ask[us-east]"].disable()
    reply = await act(app, do="trip")

    assert reply.status == 409
    assert "reset" in reply.json()["error"]


@given(
    body=st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
async def test_whatever_is_sent_without_the_header_changes_nothing(body):
    registry = Registry(listeners=())
    program(registry, us_is_down)
    app = dashboard(registry, view=anyone, act=anyone_may)

    assert (await request(app, "/actions", "POST", body)).status == 403
    assert (await request(app, "/actions", "POST", body, {"x-resilient-ai": "1"})).status in (400, 413)
    assert registry.circuit_breakers["ask[us-east]"].state is CircuitState.CLOSED
