"""
A live page in a program of your own: what is wrong now, every state, the last events, and an operator's hand.

    python examples/live_page.py           shows what the page would tell, and an action
    python examples/live_page.py serve     serves it on http://127.0.0.1:8000/resilience/ (needs uvicorn)

Users are `ops`, who may act, and nobody else; the password is in OPS_PASSWORD. In FastAPI or Starlette it is one line:

    app.mount("/resilience", dashboard(registry, view=basic("ops", os.environ["OPS_PASSWORD"]), act=may_act))
"""

import base64
import json
import os
import sys

import anyio

from resilient_ai import Endpoint, Registry, circuit_breaker, degrade_to, failover
from resilient_ai.dashboard import Action, basic, dashboard

registry = Registry(listeners=())
us, eu = Endpoint("us-east"), Endpoint("eu-west")
PASSWORD = os.environ.get("OPS_PASSWORD", "change-me")


@degrade_to("temporarily unavailable", registry=registry)
@failover(us, eu, strategy="priority", registry=registry)
@circuit_breaker(failure_threshold=1, registry=registry)
async def summarize(endpoint, text):
    if endpoint is us:
        raise ConnectionError("no route to host")
    return f"{text[:12]} … ({endpoint.name})"


def may_act(_scope, action: Action) -> bool:
    """Asked before each action; everything but closing by force is allowed here."""
    return action.do != "force_closed"


# `view=` has no default: a page that is mounted does not inherit what your application asks of its callers.
page = dashboard(registry, view=basic("ops", PASSWORD), act=may_act, title="summaries")


async def app(scope, receive, send):
    """Your application: the page stands below a prefix, all its links are relative."""
    await page({**scope, "root_path": "/resilience"}, receive, send)


async def ask_page(path: str, body: bytes = b"") -> dict:
    """What a browser sends, without a server."""
    login = base64.b64encode(f"ops:{PASSWORD}".encode())
    headers = [(b"authorization", b"Basic " + login), (b"x-resilient-ai", b"1")]
    told = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        told.append(message)

    method = "POST" if body else "GET"
    scope = {"type": "http", "method": method, "path": f"/resilience/{path}", "query_string": b"", "headers": headers}
    await app(scope, receive, send)
    return json.loads(told[-1]["body"])


async def main() -> None:
    print(await summarize("A long text about trains"))
    shown = await ask_page("snapshot.json")
    for row in shown["rows"]:
        if row["tone"] == "bad":
            print(f"wrong now: {row['label']}: {row['state']}")
    action = {"kind": "endpoint", "name": "eu-west", "do": "mark_down", "process": shown["process"]}
    print("mark eu-west down:", (await ask_page("actions", json.dumps(action).encode()))["done"])
    [event] = [each for each in (await ask_page("snapshot.json"))["events"] if each["kind"] == "operator_acted"]
    print("event:", event["name"], event["about"])


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        import uvicorn

        uvicorn.run(app, port=8000)
    else:
        anyio.run(main)
