"""A wheel holds all that serving needs, and works beside files of a user that are named as its folders are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from twofold import __version__

ROOT = Path(__file__).parents[2]
FOLDERS = ("model", "service", "training")
SCRIPT = """
import twofold
from twofold import Client, Local

with Local() as model:
    picture = model.generate("sneaker", seed=1)[0]
print(twofold.__file__, picture.class_.name, picture.data[:4] == b"\\x89PNG", Client.__module__)
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy: building leaves traces in its source."""
    source = tmp_path_factory.mktemp("source")
    for folder in (*FOLDERS, "twofold"):
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    pip("wheel", "--no-build-isolation", "--wheel-dir", source / "dist", source)
    (path,) = (source / "dist").glob("twofold-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel alone in a folder of packages."""
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--target", target, wheel)
    return target


@pytest.fixture
def beside_namesakes(tmp_path, installed):
    """Run Python in a folder that has a `model.py`, a `service/` and a `training.py`, all of which fail when they are imported."""
    (tmp_path / "service").mkdir()
    for name in ("model.py", "service/__init__.py", "training.py"):
        (tmp_path / name).write_text("raise ImportError('a file of the user was imported')\n")

    def run(*arguments: str) -> str:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TWOFOLD_"))}
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environ | {"PYTHONPATH": str(installed)}, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def pip(command: str, *arguments: str | Path) -> None:
    words = [sys.executable, "-m", "pip", command, "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_every_file_of_the_three_folders_and_the_licence(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    kept = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file())
    wanted = {f"twofold/{path.relative_to(ROOT).as_posix()}" for path in kept if "__pycache__" not in path.parts}
    assert (wanted | {"twofold/__init__.py", "twofold/py.typed"}) - packed == set()
    assert any(name.endswith("licenses/LICENSE") for name in packed)


def test_the_wheel_holds_nothing_else(wheel):
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"twofold"}


def test_the_wheel_declares_both_commands(wheel):
    archive = zipfile.ZipFile(wheel)
    (entry,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    text = archive.read(entry).decode()
    assert "twofold = twofold.service.cli.main:main" in text
    assert "twofold-train = twofold.training.cli:main" in text


def test_the_installed_client_works_beside_namesakes_of_its_folders(beside_namesakes, installed, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    imported, *rest = beside_namesakes("script.py").split()
    assert Path(imported) == installed / "twofold" / "__init__.py"
    assert rest == ["Sneaker", "True", "twofold.service.client.http"]


def test_both_commands_run_beside_namesakes_of_their_folders(beside_namesakes):
    assert beside_namesakes("-m", "twofold", "--version") == f"twofold {__version__}\n"
    assert beside_namesakes("-m", "twofold.training", "--help").startswith("usage: twofold-train")
