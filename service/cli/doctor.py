"""twofold doctor: whether this machine and these bundles can serve. Every check is made, whatever the others find."""

from __future__ import annotations

import argparse
import os
import platform
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path

from twofold import __version__
from twofold.model.contract import ContractError
from twofold.service.cli import output
from twofold.service.cli.arguments import settings_of
from twofold.service.cli.exit_codes import CHECK_FAILED, OK
from twofold.service.runtime import engine
from twofold.service.runtime.registry import DEFAULT_BUNDLE, Registry
from twofold.service.settings import Settings, SettingsError

NEEDED_MB = 256  # what the container is given; the service with the embedded bundle takes half of it
_LIBRARIES = ("fastapi", "httpx", "numpy", "pillow", "uvicorn")


class CheckFailed(Exception):
    """A check that failed; the text says why and what to do."""


def run(arguments: argparse.Namespace) -> int:
    """Run every check and print its result; returns OK or CHECK_FAILED."""
    checks: dict[str, Callable[[], str]] = {"python": _python, "libraries": _libraries, "onnxruntime": _onnxruntime, "memory": _memory}
    checks["settings"] = partial(_settings, arguments)
    with suppress(SettingsError):  # which the check of the settings reports
        settings = settings_of(arguments)
        checks["port"] = partial(_port, settings)
        for bundle in settings.bundle or (DEFAULT_BUNDLE,):
            checks[f"bundle {bundle.name}"] = partial(_bundle, settings, bundle)
    found = [_examined(name, check) for name, check in checks.items()]
    healthy = all(ok for _, ok, _ in found)
    if arguments.json:
        entries = [{"name": name, "ok": ok, "said": message} for name, ok, message in found]
        output.print_json({"service": __version__, "healthy": healthy, "checks": entries})
    else:
        for name, ok, message in found:
            output.print_line("ok" if ok else "FAIL", name, message)
    return OK if healthy else CHECK_FAILED


def _examined(name: str, check: Callable[[], str]) -> tuple[str, bool, str]:
    try:
        return name, True, check()
    except (CheckFailed, SettingsError, ContractError, OSError, ImportError) as error:
        return name, False, str(error)


def _python() -> str:
    return f"{platform.python_version()} on {platform.machine()}, {engine.cpu_quota()} CPUs"


def _libraries() -> str:
    return ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)


def _onnxruntime() -> str:
    number, providers = engine.runtime()
    if engine.PROVIDER not in providers:
        raise CheckFailed(f"{number} is without {engine.PROVIDER}: install the plain onnxruntime")
    return f"{number} with {', '.join(providers)}"


def _memory() -> str:
    free_mb = available_mb(Path("/"))
    if free_mb is None:
        return "not reported by this system"
    if free_mb < NEEDED_MB:
        raise CheckFailed(f"{free_mb} MB are free, {NEEDED_MB} are needed: end something, or raise the container's limit")
    return f"{free_mb} MB free"


def available_mb(root: Path) -> int | None:
    """What the system still gives, and a container's limit leaves; None where there is no /proc. `root` is a seam."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    try:
        limit, used = ((root / "sys/fs/cgroup" / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current"))
    except OSError:
        limit, used = "max", "0"
    if limit != "max":
        free.append(int(limit) - int(used))
    return max(0, min(free)) // 2**20 if free else None


def _settings(arguments: argparse.Namespace) -> str:
    settings_of(arguments)
    return "TWOFOLD_* variables are good"


def _port(settings: Settings) -> str:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(os.name == "posix"))
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise CheckFailed(
                f"{settings.host}:{settings.port} cannot be had ({error.strerror}): stop what listens there, or --port"
            ) from error
    return f"{settings.host}:{settings.port} is free"


def _bundle(settings: Settings, bundle: Path) -> str:
    model = Registry.open(settings.model_copy(update={"bundle": (bundle,)})).get()
    return f"{model.card.id} is whole, and gives its golden outputs on {model.provider}"
