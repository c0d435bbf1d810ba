"""`python -m resilient_ai demo [--live]`, `… grafana`, `… alerts`."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m resilient_ai", description=sys.modules["resilient_ai"].__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="a complete outage, against providers on this machine")
    demo.add_argument("--live", action="store_true", help="play it in a loop, and show it on the live page")
    demo.add_argument("--port", type=int, default=8765, help="port of the live page; default 8765")
    commands.add_parser("grafana", help="a Grafana board of resilient_ai's metrics, as JSON to import")
    commands.add_parser("alerts", help="alerting rules for Prometheus, as YAML")
    options = parser.parse_args(arguments)
    command = options.command
    if command == "demo":
        return _demo_live(options.port) if options.live else _demo()
    from .telemetry import _board

    print(_board.board() if command == "grafana" else _board.alerts())
    return 0


def _demo() -> int:
    try:
        from ._demo import run

        return run()
    except ImportError as error:
        print(f"the demo cannot start: {error}", file=sys.stderr)
        print("all that it needs: pip install 'resilient-ai[openai,anthropic,similar]'", file=sys.stderr)
        return 1


def _demo_live(port: int) -> int:
    try:
        from ._live import run

        return run(port)
    except ImportError as error:
        print(f"the live demo cannot start: {error}", file=sys.stderr)
        print("all that it needs: pip install 'resilient-ai[live,openai,anthropic,similar]'", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
