"""docs/clients.md keeps its word: curl, Python and the command line ask one server for the same things and write the same bytes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import serving
from twofold.service.runtime.registry import DEFAULT_BUNDLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
WAYS = ("curl", "python", "twofold")
URL = "http://127.0.0.1:8000"
PREAMBLE = f'from twofold.service.client import Client\nclient = Client("{URL}")\nfolder = "tests/data/pictures/"\n'  # of the blocks above


def sections() -> Iterator[tuple[str, dict[str, str]]]:
    """Title and blocks by way, of every section that has blocks."""
    for text in PAGE.split("\n## ")[1:]:
        blocks = {}
        for kind, block in re.findall(r"```(sh|python)\n(.*?)```", text, re.DOTALL):
            blocks["python" if kind == "python" else block.split()[0]] = block
        if blocks:
            yield text.partition("\n")[0], blocks


SECTIONS = dict(sections())


@pytest.fixture(scope="module")
def typed(tmp_path_factory) -> dict[str, dict[str, tuple[str, dict[str, bytes]]]]:
    """For every way and section: what was printed, and the files that were written."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    found = {}
    with serving(DEFAULT_BUNDLE) as server:
        for way in WAYS:
            folder = tmp_path_factory.mktemp(way)
            (folder / "tests").symlink_to(ROOT / "tests")
            shim = folder / "bin"
            shim.mkdir()
            (shim / "twofold").write_text(f'#!/bin/sh\nexec {sys.executable} -m twofold.service.cli.main "$@"\n')
            (shim / "twofold").chmod(0o755)
            environ = os.environ | {"PATH": f"{shim}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
            found[way] = {title: run(way, title, folder, environ, server.url) for title in SECTIONS}
    return found


def run(way: str, title: str, folder: Path, environ: dict[str, str], url: str) -> tuple[str, dict[str, bytes]]:
    block = SECTIONS[title][way]
    if way == "python":
        command = [sys.executable, "-c", (PREAMBLE + block).replace(URL, url)]
    else:
        typed = block.replace(URL, url).replace("curl ", "curl --silent --show-error --fail --max-time 60 ")
        command = ["/bin/sh", "-ec", typed]
    before = {path.name for path in folder.iterdir()}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (way, title, done.stderr)
    return done.stdout, {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in before}


@pytest.mark.parametrize("title", SECTIONS)
def test_every_example_stands_there_in_all_three_ways(title):
    assert sorted(SECTIONS[title]) == sorted(WAYS)


@pytest.mark.parametrize("title", SECTIONS)
def test_all_three_ways_write_the_same_bytes_or_tell_the_same_codes(typed, title):
    printed, files = typed["curl"][title]
    codes = set(re.findall(r"c1\.[\w-]+", printed))
    assert files or codes
    for way in WAYS[1:]:
        assert typed[way][title][1] == files, way
        if not files:
            assert set(re.findall(r"c1\.[\w-]+", typed[way][title][0])) == codes, way


def test_every_curl_line_of_the_readme_asks_for_what_stands_here():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    asked = {re.search(r"127\.0\.0\.1:8000/(\w+)", line)[1] for line in readme.replace("\\\n", "").splitlines() if "curl " in line}
    here = set(re.findall(r"127\.0\.0\.1:8000/(\w+)", PAGE))
    assert asked <= here


def test_the_page_of_the_command_line_is_what_help_prints():
    printed = subprocess.run([sys.executable, "-m", "docs.commands"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (ROOT / "docs/cli.md").read_text(encoding="utf-8") == printed.stdout
