"""Pages of the documentation, for tests: their sections, tables and code blocks, and commands run as they stand in them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
URL = "http://127.0.0.1:8000"  # the address in the documentation; a test's server has another port
PROGRAMS = {"twofold": "twofold", "twofold-train": "twofold.training"}


def page(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """What stands under a heading of the second level, up to the next one."""
    found = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert found, f"there is no section {title}"
    return found


def rows(text: str) -> list[list[str]]:
    """Cells of every line of every table, the lines below the headings included."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of each fenced block that has a language."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def workplace(folder: Path) -> dict[str, str]:
    """The environment of a reader in `folder`: both programs on the PATH, and `tests` beside them as in the root folder."""
    (folder / "tests").symlink_to(ROOT / "tests")
    (folder / "bin").mkdir()
    for program, module in PROGRAMS.items():
        (folder / "bin" / program).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (folder / "bin" / program).chmod(0o755)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(language: str, code: str, folder: Path, environ: dict[str, str], url: str = URL) -> str:
    """Run a block of `sh` or `python` in `folder` against the server at `url`; what it printed. AssertionError where it fails."""
    code = code.replace(URL, url)
    if language == "python":
        command = [sys.executable, "-c", code]
    else:
        command = ["/bin/sh", "-ec", re.sub(r"^curl ", "curl --silent --show-error --fail --max-time 60 ", code, flags=re.MULTILINE)]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, (code, done.stderr)
    return done.stdout
