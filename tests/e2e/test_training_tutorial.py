"""docs/tutorial/train-your-own.md: its commands, in their order and as they stand, lead from a folder of pictures to a served model."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.documents import ROOT, blocks, page, run, workplace
from tests.hub import TOKEN, hub_server
from tests.serving import serving
from twofold.model import contract
from twofold.training.data.dataset import load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]  # a minute and a half of one free core

CLASSES = {1: "trousers", 7: "sneakers", 8: "bags"}
EACH = 60  # pictures of a class
SHORT = {"--minutes 10": "--minutes 0.02"}  # the only thing that is not as it stands
COMMANDS = [line for language, code in blocks(page("docs/tutorial/train-your-own.md")) if language == "sh" for line in code.splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with `photos`."""
    home = tmp_path_factory.mktemp("home")
    pictures = load(ROOT / "tests" / "data" / "fashion-sample", "train")
    for label, name in CLASSES.items():
        (home / "photos" / name).mkdir(parents=True)
        for number, pixels in enumerate(pictures.pixels[pictures.labels == label][:EACH]):
            Image.fromarray(pixels[..., 0]).save(home / "photos" / name / f"{number}.png")
    return home


def steps() -> Iterator[tuple[str, list[str]]]:
    """Each command, and for `twofold serve` the curl lines that ask the server."""
    lines = list(COMMANDS)
    while lines:
        command = lines.pop(0)
        asked = []
        while command.startswith("twofold serve") and lines and lines[0].startswith("curl "):
            asked.append(lines.pop(0))
        yield command, asked


@pytest.fixture(scope="module")
def served(home) -> list[tuple[str, dict[str, Any]]]:
    """Every command was run in its order; servers answered their curl lines. (bundle, its entry in /models) of each server."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    found = []
    with hub_server() as hub, pytest.MonkeyPatch.context() as patch:
        for name, value in {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(home / "cache"), "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}.items():
            patch.setenv(name, value)
        environ = workplace(home)
        for command, asked in steps():
            if not (bundle := re.fullmatch(r"twofold serve --bundle (\S+)", command)):
                for stated, short in SHORT.items():
                    command = command.replace(stated, short)
                run("sh", command, home, environ)
                continue
            with serving(Path(bundle[1]) if bundle[1].startswith("hf:") else home / bundle[1]) as server:
                found.append((bundle[1], httpx.get(f"{server.url}/models", timeout=30).json()["models"][0]))
                for line in asked:
                    run("sh", line, home, environ, server.url)
    return found


def test_every_command_works_in_its_order(served):
    assert [line.split()[1] for line in COMMANDS if line.startswith("twofold-train")] == [
        *("init", "train", "train", "export", "eval-classifier", "evaluate", "report", "push")
    ]
    assert [name for name, _ in served] == ["runs/photos/bundle", "hf:somebody/photos"]


def test_the_model_that_is_served_has_the_classes_of_the_folder(served, home):
    card = contract.open_bundle(home / "runs" / "photos" / "bundle").card
    assert set(card.class_names) == set(CLASSES.values())
    assert {model["model_hash"] for _, model in served} == {card.model_hash}


def test_the_files_that_the_tutorial_promises_are_there(served, home):
    with Image.open(home / "eight.png") as eight:
        assert eight.size == (112, 56)
    for file in ("batch.png", "bundle/README.md", "bundle/eval_classifier.onnx", "report/report.html", "log.jsonl"):
        assert (home / "runs" / "photos" / file).stat().st_size > 0, file
    card = contract.read_card(home / "runs" / "photos" / "bundle")
    assert card.metrics["split"] == "test"
    assert "Not measured yet" not in (home / "runs" / "photos" / "bundle" / "README.md").read_text(encoding="utf-8")
