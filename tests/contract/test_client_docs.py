"""docs/how-to/clients.md: curl, Python and the command line ask one server for the same things and write the same bytes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.documents import URL, blocks, page, run, workplace
from tests.serving import serving
from twofold.service.runtime.registry import DEFAULT_BUNDLE

PAGE = page("docs/how-to/clients.md")
WAYS = ("curl", "python", "twofold")
PREAMBLE = f'from twofold import Client\nclient = Client("{URL}")\nfolder = "tests/data/pictures/"\n'  # of the blocks above

pytestmark = pytest.mark.slow

Written = tuple[str, dict[str, bytes]]  # what was printed, and the files that were written


def ways(text: str) -> dict[str, str]:
    """The blocks of a section by way."""
    return {"python" if language == "python" else code.split()[0]: code for language, code in blocks(text)}


SECTIONS = {text.partition("\n")[0]: ways(text) for text in PAGE.split("\n## ")[1:] if blocks(text)}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, dict[str, Written]]:
    """By way and section."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    found: dict[str, dict[str, Written]] = {}
    with serving(DEFAULT_BUNDLE) as server:
        for way in WAYS:
            folder = tmp_path_factory.mktemp(way)
            environ = workplace(folder)
            found[way] = {title: follow(way, title, folder, environ, server.url) for title in SECTIONS}
    return found


def follow(way: str, title: str, folder: Path, environ: dict[str, str], url: str) -> Written:
    before = {path.name for path in folder.iterdir()}
    code = SECTIONS[title][way]
    printed = run("python", PREAMBLE + code, folder, environ, url) if way == "python" else run("sh", code, folder, environ, url)
    return printed, {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in before}


@pytest.mark.parametrize("title", SECTIONS)
def test_every_example_is_given_in_all_three_ways(title):
    assert sorted(SECTIONS[title]) == sorted(WAYS)


@pytest.mark.parametrize("title", SECTIONS)
def test_all_three_ways_write_the_same_bytes_or_print_the_same_codes(written, title):
    printed, files = written["curl"][title]
    codes = set(re.findall(r"c1\.[\w-]+", printed))
    assert files or codes
    for way in WAYS[1:]:
        assert written[way][title][1] == files, way
        if not files:
            assert set(re.findall(r"c1\.[\w-]+", written[way][title][0])) == codes, way


def test_every_route_that_the_readme_asks_is_on_the_page():
    routes = r"127\.0\.0\.1:8000/(\w+)"
    curl = "\n".join(code for language, code in blocks(page("README.md")) if language == "sh")
    assert set(re.findall(routes, curl)) <= set(re.findall(routes, PAGE))
