"""
A live page of one process: current problems, all states, the latest events, the settings, and an operator's controls.

    app.mount("/resilience", dashboard(registry, view=basic("ops", password), act=may_act))

Plain ASGI without dependencies, for FastAPI, Starlette, Litestar, Quart, or alone under uvicorn or hypercorn. For a
fleet, use `python -m resilient_ai grafana`; this page shows a single process.
"""

from ._access import anyone, basic, bearer
from ._actions import Action
from ._app import dashboard

__all__ = ["Action", "anyone", "basic", "bearer", "dashboard"]
