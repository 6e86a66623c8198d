"""Arguments to settings, to a client, and to pictures. It does not know commands."""

from __future__ import annotations

import argparse
import sys

from twofold.service.client import Client, Local
from twofold.service.settings import Settings


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The command line first, then TWOFOLD_* variables. Raises SettingsError."""
    known = {name: value for name in ("host", "port") if (value := getattr(arguments, name, None)) is not None}
    return Settings.from_env(**known, **({"bundle": tuple(arguments.bundle)} if arguments.bundle else {}))


def open_client(arguments: argparse.Namespace) -> Client:
    """A client of the server that was named, or of the bundles in this process. Raises SettingsError, ContractError."""
    return Client(arguments.server) if arguments.server else Local(settings=settings_of(arguments))


def read_picture(argument: str) -> str | bytes:
    """A picture argument as the client takes it: - is what stdin holds."""
    return sys.stdin.buffer.read() if argument == "-" else argument
