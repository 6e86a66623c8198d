"""twofold serve: bundles to a server that runs until a signal."""

from __future__ import annotations

import argparse

from twofold.service.cli.arguments import settings_of
from twofold.service.cli.exit_codes import OK
from twofold.service.http.app import create_app
from twofold.service.http.server import serve
from twofold.service.runtime.registry import Registry
from twofold.service.telemetry import Metrics


def run(arguments: argparse.Namespace) -> int:
    """Raises SettingsError and ContractError before anything listens."""
    settings = settings_of(arguments)
    metrics = Metrics()
    serve(create_app(settings, Registry.open(settings, metrics.batch_rows.observe), metrics), settings)
    return OK
