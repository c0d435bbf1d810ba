"""The client that an endpoint makes for plain functions."""

from __future__ import annotations

import sys

import pytest

from resilient_ai.providers._plain_client import PlainClient


class Client:
    """Nothing but something to close."""

    def close(self):
        """Closed."""


@pytest.mark.parametrize("step", range(5))
def test_a_client_is_there_although_it_is_taken_away_at_any_step(step):
    clients = PlainClient(Client, None, lambda client: client)
    clients.get()
    steps = iter(range(100))

    def take_at_the_step(_frame, event, _argument):
        if event == "line" and next(steps) == step:
            clients.take()
        return take_at_the_step

    before = sys.gettrace()
    sys.settrace(lambda frame, *_event: take_at_the_step if frame.f_code is PlainClient.get.__code__ else None)
    try:
        client = clients.get()
    finally:
        sys.settrace(before)

    assert isinstance(client, Client)
