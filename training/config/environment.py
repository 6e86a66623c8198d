"""What a run was made with: versions, machine, device, threads, git revision. Nothing that names a person, a host or a path."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("twofold", "torch", "numpy", "pillow", "datasets")


def environment(device: torch.device, processes: int) -> dict[str, Any]:
    """Versions and machine, for a run on this device in so many processes; plain JSON types."""
    gpu = device.type == "cuda"
    return {
        "python": platform.python_version(),
        "packages": dict(_versions()),
        "revision": revision(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "device": torch.cuda.get_device_name(device) if gpu else "cpu",
        "cuda": torch.version.cuda if gpu else None,
    }


def revision() -> str:
    """Short git revision of the working folder, with a plus sign when it has changes; "unknown" outside a repository."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or sys.platform
