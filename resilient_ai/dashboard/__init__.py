"""
A live page of one process: what is wrong now, every state, the last events, the settings, and an operator's hand.

    app.mount("/resilience", dashboard(registry, view=basic("ops", password), act=may_act))

Plain ASGI without a dependency, for FastAPI, Starlette, Litestar, Quart, or alone under uvicorn or hypercorn. A fleet
has `python -m resilient_ai grafana`; this is for the one process in front of you.
"""

from ._access import anyone, basic, bearer
from ._actions import Action
from ._app import dashboard

__all__ = ["Action", "anyone", "basic", "bearer", "dashboard"]
