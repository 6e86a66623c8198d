"""The curl lines and the Python lines of the README work as they stand on the model that ships, and give the same pictures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.documents import blocks, page, run, workplace
from tests.serving import serving
from twofold.service.runtime.registry import DEFAULT_BUNDLE

PAGE = page("README.md")
WRITTEN = ("sneakers.png", "swap.png")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[str, tuple[Path, str]]:
    """By language: the folder with the files that its block wrote, and what it printed."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    found = {}
    with serving(DEFAULT_BUNDLE) as server:
        for language, code in blocks(PAGE):
            folder = tmp_path_factory.mktemp(language)
            found[language] = folder, run(language, code, folder, workplace(folder), server.url)
    return found


def test_curl_and_python_write_the_same_pictures(printed):
    assert set(printed) == {"sh", "python"}
    for name in WRITTEN:
        first, second = ((folder / name).read_bytes() for folder, _ in printed.values())
        assert first.startswith(b"\x89PNG")
        assert first == second


def test_the_answer_of_encode_is_json_of_the_model_that_ships(printed):
    _, answer = printed["sh"]
    assert json.loads(answer)["model"].startswith("fashion-mnist@")


def test_the_sneakers_have_the_size_and_mode_that_the_readme_states(printed):
    stated = re.search(r"PNG image data, (\d+) x (\d+), 8-bit grayscale", PAGE)
    assert stated
    folder, _ = printed["sh"]
    with Image.open(folder / "sneakers.png") as image:
        assert (image.size, image.mode) == ((int(stated[1]), int(stated[2])), "L")
