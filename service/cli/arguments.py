"""From arguments to settings, to a client, and to what a picture argument means. It does not know commands."""

from __future__ import annotations

import argparse
import sys

from twofold.service.client import Client, Local
from twofold.service.settings import Settings


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The command line first, then TWOFOLD_* variables. Raises SettingsError."""
    given = {name: value for name in ("host", "port") if (value := getattr(arguments, name, None)) is not None}
    return Settings.from_env(**given, **({"bundle": tuple(arguments.bundle)} if arguments.bundle else {}))


def open_door(arguments: argparse.Namespace) -> Client:
    """A client of the server that was named, or of the bundles in this process. Raises SettingsError, ContractError."""
    return Client(arguments.server) if arguments.server else Local(settings=settings_of(arguments))


def given(argument: str) -> str | bytes:
    """A picture argument as the client takes it: - is what stdin holds."""
    return sys.stdin.buffer.read() if argument == "-" else argument
