"""The README keeps its word: its tree is the tree, and its curl lines work as they stand on the model that ships."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.serving import serving
from twofold.service.runtime.registry import DEFAULT_BUNDLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")


def curl_lines() -> list[str]:
    block = PAGE.partition("```sh\n")[2].partition("```")[0].replace("\\\n", "")
    return [re.sub(r"^\$ ", "", line.strip()) for line in (*re.findall(r"\$ curl .*", PAGE), *block.splitlines()) if "curl " in line]


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> list[tuple[str, bytes]]:
    """Each curl line with what it printed or wrote."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    folder = tmp_path_factory.mktemp("typed")
    (folder / "tests").symlink_to(ROOT / "tests")
    found = []
    with serving(DEFAULT_BUNDLE) as server:
        for line in curl_lines():
            typed = line.replace("http://127.0.0.1:8000", server.url).replace(
                "curl ", "curl --silent --show-error --fail --max-time 30 ", 1
            )
            result = subprocess.run(["/bin/sh", "-c", typed], cwd=folder, capture_output=True, check=False)
            assert result.returncode == 0, (line, result.stderr)
            written = re.search(r"-o (\S+)", line)
            found.append((line, (folder / written[1]).read_bytes() if written else result.stdout))
    return found


def test_every_curl_line_gives_pictures_or_json(answers):
    assert len(answers) == 10
    for line, answer in answers:
        if written := re.search(r" -o \w+\.(\w+)", line):
            assert Image.open(io.BytesIO(answer)).format == written[1].upper(), line
        else:
            assert json.loads(answer)["model"].startswith("fashion-mnist@"), line


def test_the_first_screen_tells_the_size_and_mode_of_what_comes_back(answers):
    line, picture = answers[0]
    image = Image.open(io.BytesIO(picture))
    width, height = re.search(r"PNG image data, (\d+) x (\d+), 8-bit grayscale", PAGE).groups()
    assert "n=8" in line
    assert (image.size, image.mode) == ((int(width), int(height)), "L")
