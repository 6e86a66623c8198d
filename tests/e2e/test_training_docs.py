"""docs/training.md keeps its word: its commands, in their order and as they stand, lead from a folder of pictures to a served model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.hub import TOKEN, hub_server
from tests.serving import serving
from twofold.model import contract
from twofold.training.data.dataset import load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]  # a minute and a half of one free core

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
CLASSES = {1: "trousers", 7: "sneakers", 8: "bags"}
EACH = 60  # pictures of a class
SHORT = {"--minutes 10": "--minutes 0.02"}  # the only thing that is not as it stands


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with `photos`, and the two programs in front of PATH."""
    home = tmp_path_factory.mktemp("home")
    pictures = load(ROOT / "tests" / "data" / "fashion-sample", "train")
    for label, name in CLASSES.items():
        (home / "photos" / name).mkdir(parents=True)
        for number, pixels in enumerate(pictures.pixels[pictures.labels == label][:EACH]):
            Image.fromarray(pixels[..., 0]).save(home / "photos" / name / f"{number}.png")
    (home / "bin").mkdir()
    for program, module in (("twofold-train", "twofold.training.cli"), ("twofold", "twofold.service.cli.main")):
        (home / "bin" / program).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (home / "bin" / program).chmod(0o755)
    return home


def typed(line: str, home: Path, **variables: str) -> None:
    environ = {**os.environ, "PATH": f"{home / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for said, short in SHORT.items():
        line = line.replace(said, short)
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=home, env=environ | variables, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, (line, done.stderr)


@pytest.fixture(scope="module")
def done(home):
    """Every command was run in its order; servers answered their curl lines. Gives the models that were served."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    served, lines = [], commands()
    with hub_server() as hub, pytest.MonkeyPatch.context() as patch:
        for name, value in {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(home / "cache"), "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}.items():
            patch.setenv(name, value)
        while lines:
            line = lines.pop(0)
            if not (bundle := re.fullmatch(r"twofold serve --bundle (\S+)", line)):
                typed(line, home)
                continue
            with serving(Path(bundle[1]) if bundle[1].startswith("hf:") else home / bundle[1]) as server:
                served.append((bundle[1], httpx.get(f"{server.url}/models", timeout=30).json()["models"][0]))
                while lines and lines[0].startswith("curl "):
                    typed(lines.pop(0).replace("http://127.0.0.1:8000", server.url), home)
    return served


def test_every_command_works_in_its_order(done, home):
    assert [line.split()[:2] for line in commands() if line.startswith("twofold-train")] == [
        ["twofold-train", word] for word in ("init", "train", "train", "export", "eval_classifier", "evaluate", "report", "push")
    ]
    assert [name for name, _ in done] == ["runs/photos/bundle", "hf:somebody/photos"]


def test_the_model_that_is_served_knows_the_classes_of_the_folder(done, home):
    card = contract.open_bundle(home / "runs" / "photos" / "bundle").card
    assert set(card.class_names) == set(CLASSES.values())
    assert {model["model_hash"] for _, model in done} == {card.model_hash}


def test_what_the_page_promises_is_there(done, home):
    with Image.open(home / "eight.png") as eight:
        assert eight.size == (112, 56)
    for file in ("batch.png", "bundle/README.md", "report/report.html", "log.jsonl"):
        assert (home / "runs" / "photos" / file).stat().st_size > 0, file
    card = contract.read_card(home / "runs" / "photos" / "bundle")
    assert card.metrics["split"] == "test"
    assert "Not measured yet" not in (home / "runs" / "photos" / "bundle" / "README.md").read_text(encoding="utf-8")
