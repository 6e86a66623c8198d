"""Below these versions stand known holes; nobody lowers a floor, in the pins or in pyproject.toml, without this test saying so."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
FLOORS = {"starlette": "1.3.1", "python-multipart": "0.0.32", "h11": "0.16", "pillow": "13", "torch": "2.10"}


def pins() -> dict[str, Version]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    return {name: Version(pin) for name, _, pin in (line.partition("==") for line in lines if line)}


def declared() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_installed_stands_on_its_floor(name):
    assert Version(version(name)) >= Version(FLOORS[name])


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_pinned_stands_on_its_floor(name):
    assert pins()[name] >= Version(FLOORS[name])


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_declared_admits_nothing_below_its_floor(name):
    lowest = {Version(part.version) for part in declared()[name].specifier if part.operator in (">=", "==")}
    assert max(lowest) >= Version(FLOORS[name])


def test_everything_declared_is_pinned():
    assert {name.lower() for name in declared()} <= set(pins())
