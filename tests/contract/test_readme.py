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

from service.bundles import DEFAULT_BUNDLE
from tests.serving import serving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = ("service", "model", "training")
SOURCES = {".py", ".toml", ".html", ".js", ".css", ".svg"}
VENDORED = "service/web/swagger-ui/"


def tree() -> list[str]:
    """Paths of the tree in the README, folders with a slash at the end."""
    lines = PAGE.partition("\n## Files\n")[2].partition("```\n")[2].partition("```")[0].splitlines()
    assert all(re.fullmatch(r" *\S+/|(  )*\S+  +\S.*", line) for line in lines), "a clause for every file"
    folders: list[str] = []
    paths = []
    for line in lines:
        name = line.split()[0]
        folders = folders[: (len(line) - len(line.lstrip())) // 2]
        paths.append("".join([*folders, name]))
        if name.endswith("/"):
            folders.append(name)
    return paths


def test_the_tree_has_every_tracked_source_file_of_the_three_rooms_and_nothing_that_does_not_exist():
    listed = subprocess.run(["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {path for path in listed.stdout.splitlines() if Path(path).suffix in SOURCES}
    shown = tree()
    assert len(shown) == len(set(shown))
    assert {path for path in tracked if not path.startswith((VENDORED, "model/pretrained/"))} - set(shown) == set()
    assert [path for path in shown if not (ROOT / path).exists()] == []


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
