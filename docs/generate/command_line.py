"""Prints docs/cli.md, the help of every command: `python -m docs.commands > docs/cli.md` in the root folder."""

from __future__ import annotations

import argparse
import os
import sys

from service.cli import parser

HEAD = """# The command line

`twofold` has the names and the defaults of the HTTP interface. It runs the model in its own process, or with `--server URL` asks a server:
the pictures are the same, byte for byte. stdout is data, stderr is talk; `-` is stdin or stdout. The same things as curl and Python stand
in [clients.md](clients.md); `twofold-train` is in [training.md](training.md).

| exit code | what it says |
|---|---|
| 0 | done; also when the reader of a pipe had enough |
| 1 | our fault; please report it |
| 2 | usage, bad input, a bad bundle |
| 3 | the server cannot be reached, is busy, or took too long; for `serve`: the address is taken |
| 4 | not found: a model, a file |
| 5 | a check failed: `inspect --verify`, `replay --check`, `doctor` |
| 130 | interrupted |

This page is what `--help` prints: `python -m docs.commands > docs/cli.md`.
"""


def page() -> str:
    """Markdown: a section for each command. As wide as it is here, and without colour, whatever the terminal."""
    os.environ |= {"COLUMNS": "110", "NO_COLOR": "1"}
    top = parser()
    commands = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction)).choices
    sections = [f"## {one.prog}\n\n```\n{one.format_help()}```\n" for one in (top, *commands.values())]
    return "\n".join([HEAD, *sections])


if __name__ == "__main__":
    sys.stdout.write(page())
