"""DESIGN.md speaks of what there is: symbols stand in the files it names, and what it says is held by a test is."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

import pytest

from model.vae_gan import PARTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
SYMBOLS = [line.split("|")[1:4] for line in PAGE.splitlines() if re.search(r"\| `model/\w+\.py` \||\| `training/\w+\.py` \|", line)]


def names_in(path: Path) -> set[str]:
    """Every identifier of a file, comments and docstrings left out."""
    with tokenize.open(path) as file:
        return {token.string for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.NAME}


@pytest.mark.parametrize(("symbol", "name", "file"), SYMBOLS, ids=[row[0].strip() for row in SYMBOLS])
def test_the_name_of_a_symbol_stands_in_its_file(symbol, name, file):
    here = set(re.findall(r"`(\w+)`", name.partition(", in a bundle ")[0]))
    assert here
    assert here - set(PARTS) <= names_in(ROOT / file.strip(" `"))


def test_the_names_in_a_bundle_are_the_contracts():
    contract = (ROOT / "model/contract.py").read_text(encoding="utf-8")
    named = [one for _, name, _ in SYMBOLS for one in re.findall(r"`(\w+)`", name.partition(", in a bundle ")[2])]
    assert named
    assert [one for one in named if f"    {one}: Floats" not in contract] == []


def test_decisions_are_numbered_without_a_gap():
    numbers = [int(n) for n in re.findall(r"^(\d+)\. \*\*", PAGE, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_test_that_holds_a_decision_exists():
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    cited = re.findall(r"`(test_\w+)`", PAGE)
    assert cited
    assert [name for name in cited if f"def {name}(" not in tests] == []


@pytest.mark.parametrize("path", ["DESIGN.md", "README.md", "CONTRIBUTING.md", "docs/method.md", "docs/bundle.md", "docs/service.md"])
def test_every_file_that_a_document_names_exists(path):
    named = re.findall(r"`((?:model|training|service|tests|docs|docker)/[\w./-]+)`", (ROOT / path).read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []
