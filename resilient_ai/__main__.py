"""`python -m resilient_ai demo`."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    """What the command line does; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m resilient_ai", description=sys.modules["resilient_ai"].__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="an outage from its beginning to its end, against providers on this machine")
    parser.parse_args(arguments)
    try:
        from ._demo import run

        return run()
    except ImportError as error:
        print(f"the demo cannot start: {error}", file=sys.stderr)
        print("all that it needs: pip install 'resilient-ai[openai,anthropic,similar]'", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
