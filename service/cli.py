"""`twofold`: the command line. Heavy imports wait until a command needs them; stdout is data, stderr is talk.

Exit codes: 0 ok, 1 our fault, 2 usage or bad input, 3 the address is taken, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from service import __version__
from service.sets import commands as sets


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="twofold", description="Take pictures apart into class and style, and put the codes together again."
    )
    parser.add_argument("--version", action="version", version=f"twofold {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serving = commands.add_parser(
        "serve", help="serve one or several bundles over HTTP", description="Every setting is also a TWOFOLD_* variable."
    )
    serving.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    serving.add_argument("--port", type=int, help="TCP port to listen on (default 8000; 0 takes a free one)")
    serving.add_argument(
        "--bundle",
        type=Path,
        action="append",
        metavar="BUNDLE",
        help="a bundle folder, or hf:USER/NAME[@REVISION] on a hub; repeatable, the first is the default",
    )
    serving.set_defaults(run=_serve)
    sets.add_commands(commands)
    arguments = parser.parse_args(argv)
    code: int = arguments.run(arguments)
    return code


def _serve(arguments: argparse.Namespace) -> int:
    from model.contract import ContractError
    from service.settings import Settings, SettingsError

    given = {name: getattr(arguments, name) for name in ("host", "port") if getattr(arguments, name) is not None}
    if arguments.bundle:
        given["bundle"] = tuple(arguments.bundle)
    try:
        settings = Settings.from_env(os.environ, **given)
    except SettingsError as error:
        return _complain(str(error))

    from service.app import create_app
    from service.bundles import Registry
    from service.metrics import Metrics
    from service.server import serve

    metrics = Metrics()
    try:
        registry = Registry.open(settings, metrics.observe_batch)
    except ContractError as error:
        return _complain(str(error))
    serve(create_app(settings, registry, metrics), settings)
    return 0


def _complain(sentence: str) -> int:
    print(f"twofold: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
