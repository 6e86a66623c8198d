"""twofold serve: bundles to a server that runs until a signal."""

from __future__ import annotations

import argparse

from service.app import create_app
from service.bundles import Registry
from service.commands import OK
from service.commands.doors import settings_of
from service.metrics import Metrics
from service.server import serve


def run(arguments: argparse.Namespace) -> int:
    """Raises SettingsError and ContractError before anything listens."""
    settings = settings_of(arguments)
    metrics = Metrics()
    serve(create_app(settings, Registry.open(settings, metrics.observe_batch), metrics), settings)
    return OK
