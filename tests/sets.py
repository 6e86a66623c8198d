"""Data sets made by the command line, for tests: a process that can be killed, and what lies in a set."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "twofold", *map(str, arguments)]


def environ() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TWOFOLD_")}
    return kept | {"OMP_NUM_THREADS": "1"}


def twofold(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=ROOT, env=environ(), capture_output=True, text=True, timeout=120, check=False)


def contents(place: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, or the file itself -> SHA-256."""
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return {path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}
