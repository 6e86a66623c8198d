"""The help of every command of `twofold` and `twofold-train` as Markdown."""

from __future__ import annotations

import argparse
import os
from unittest import mock

FIXED = {"COLUMNS": "110", "NO_COLOR": "1"}  # the same text whatever the terminal


def service_part() -> str:
    """`twofold`: a section for each command."""
    from twofold.service.cli.main import parser

    return _sections(parser())


def training_part() -> str:
    """`twofold-train`: a section for each command."""
    from twofold.training.cli import parser

    return _sections(parser())


@mock.patch.dict(os.environ, FIXED)
def _sections(top: argparse.ArgumentParser) -> str:
    commands = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction)).choices
    return "\n".join(f"## {one.prog}\n\n```text\n{one.format_help()}```\n" for one in (top, *commands.values()))
