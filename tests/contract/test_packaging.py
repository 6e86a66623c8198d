"""A plain `pip install .` holds all that serving needs: the page, the embedded bundle, the licence; and no tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy: building leaves traces in its source."""
    source = tmp_path_factory.mktemp("source")
    for package in ("service", "model", "training", "twofold"):
        shutil.copytree(ROOT / package, source / package, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", "."]
    result = subprocess.run(build, cwd=source, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    (path,) = (source / "dist").glob("twofold-*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_three_rooms_and_the_licence(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    kept = (path for room in ("service", "model", "training") for path in (ROOT / room).rglob("*") if path.is_file())
    wanted = {f"twofold/{path.relative_to(ROOT).as_posix()}" for path in kept if "__pycache__" not in path.parts}
    assert (wanted | {"twofold/__init__.py", "twofold/py.typed"}) - packed == set()
    assert any(name.endswith("licenses/LICENSE") for name in packed)


@pytest.mark.slow
def test_the_wheel_holds_nothing_else(wheel):
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"twofold"}


@pytest.mark.slow
def test_the_commands_are_declared(wheel):
    archive = zipfile.ZipFile(wheel)
    (entry,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    text = archive.read(entry).decode()
    assert "twofold = twofold.service.cli.main:main" in text
    assert "twofold-train = twofold.training.cli:main" in text
