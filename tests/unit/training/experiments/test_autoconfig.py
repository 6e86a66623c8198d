"""From a folder to a configuration, and from a configuration to what it costs, with two real steps of each stage."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from twofold.training import cli
from twofold.training.config.recipe_template import STAGES, DatasetFacts, text
from twofold.training.config.schema import ConfigError, DataConfig, from_dict, read
from twofold.training.data.dataset import load_for
from twofold.training.experiments.autoconfig import AutoConfigOptions, Plan, _sides_for, init, lengths
from twofold.training.experiments.dry_run import dry_run, sheet
from twofold.training.experiments.profile import Profile
from twofold.training.trainer.trainer import VALIDATIONS

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three classes of 20 RGB pictures without colour, 30x30, on a border of level 250."""
    root, rng = tmp_path_factory.mktemp("data") / "My Shapes", np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (root / name).mkdir(parents=True)
        for i in range(20):
            picture = np.full((30, 30), 250, np.uint8)
            picture[5:25, 5:25] = rng.integers(0, 256, (20, 20))
            Image.fromarray(picture).convert("RGB").save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory) -> tuple[Path, list[str]]:
    out, said = tmp_path_factory.mktemp("out") / "twofold.toml", []
    init(AutoConfigOptions(folder, out, minutes=1), said.append, steps=2)
    return out, said


def test_init_finds_the_size_the_mode_and_the_background(written):
    config = read(written[0])
    assert (config.data.height, config.data.width, config.data.channels, config.data.background) == (28, 28, 1, (255,))
    assert config.name == "my-shapes"


def test_the_file_explains_every_key_once(written):
    text = written[0].read_text(encoding="utf-8")
    assert text.count("# pictures per forward pass") == 1
    assert "channels = 1  # 1: grey, 3: RGB, 0: what most pictures have" in text
    assert all("# " in line for line in text.partition("[[stage.update]]")[0].splitlines() if " = " in line)


def test_init_shows_the_pictures_and_names_the_next_command(folder, written):
    out, said = written
    assert said[0].split() == ["class", "train", "validation", "test"]
    assert "warning: 3 of 3 classes have fewer than 50 pictures to learn from: a, b, c" in said
    assert any("measured in 2 steps of each stage on this machine" in line for line in said)
    assert said[-1] == f"next: twofold-train train {out} --data {folder} --out RUN"


def test_the_file_says_what_it_was_made_for(written):
    lines = written[0].read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# Written by `twofold-train init` for 3 classes and 48 training pictures: about ")
    assert "of 1 min asked for" in lines[0]


@pytest.mark.parametrize(
    ("steps", "height", "width", "channels", "expected"),
    [
        (1000, 96, 96, 3, (96, 96)),
        (450, 96, 96, 3, (64, 64)),
        (1, 96, 96, 3, (32, 32)),
        (1, 96, 96, 1, (28, 28)),
        (250, 64, 96, 3, (32, 48)),
        (1, 28, 28, 3, (28, 28)),
    ],
)
def test_the_largest_size_is_taken_at_which_the_codes_have_enough_steps(steps, height, width, channels, expected):
    facts = DatasetFacts("mine", height, width, channels, (0,), 10, 64, 6)
    plan = Plan(None, facts, None, {"codes": steps * 16 / 64})
    assert plan.steps == steps
    assert _sides_for(plan) == expected


def test_smaller_pictures_are_taken_and_that_is_said(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "large" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)).save(tmp_path / "large" / name / f"{i}.png")
    said: list[str] = []
    config = init(AutoConfigOptions(tmp_path / "large", tmp_path / "t.toml", minutes=0.05), said.append, steps=1)
    assert (config.data.height, config.data.width) == (32, 32)
    assert any("taking 32x32 (--size 48 or more --minutes keep them larger)" in line for line in said)
    assert any(line.startswith("warning: only ") for line in said)


def test_init_overwrites_nothing(folder, written):
    before = written[0].read_bytes()
    with pytest.raises(ConfigError, match="is there already"):
        init(AutoConfigOptions(folder, written[0]), print, steps=1)
    assert written[0].read_bytes() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 30}, "try 28"),
        ({"size": 500}, "try 128"),
        ({"size": -1}, "up to 128"),
        ({"minutes": 0.0}, "a number above 0"),
        ({"minutes": float("inf")}, "a number above 0"),
        ({"minutes": float("nan")}, "a number above 0"),
    ],
)
def test_options_that_cannot_be_met_are_refused(folder, tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        init(AutoConfigOptions(folder, tmp_path / "t.toml", **options), print, steps=1)
    assert not (tmp_path / "t.toml").exists()


def test_a_dry_run_shows_a_batch_and_what_the_run_costs(folder, tmp_path, written):
    config = read(written[0])
    said: list[str] = []
    text = dry_run(config, *load_for(config.data, folder), tmp_path / "run", said.append, steps=1)
    assert json.loads(text) == json.loads(json.dumps(config.to_dict()))
    with Image.open(tmp_path / "run" / "batch.png") as picture:
        assert (picture.mode, picture.size) == ("L", (16 * 30 + 2, 30 + 2))  # one row of 16 pictures
        assert picture.getpixel((2, 2)) == 250
    assert any(line.startswith("parameters: encoder_s ") for line in said)
    assert [line.split(":")[0] for line in said[3:6]] == [stage.name for stage in config.stage]
    assert said[-1].startswith("time: about ")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["batch.png"]


def test_a_sheet_holds_every_picture_in_reading_order():
    pixels = np.arange(18, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 5, 3), np.uint8)
    found = np.asarray(sheet(pixels))
    assert found.shape == (2 + 2 * 6, 2 + 16 * 7, 3)
    assert found[2::6, 2::7][:2, :16, 0].tolist() == [list(range(16)), [16, 17, *[128] * 14]]


@pytest.mark.slow
def test_train_with_dry_run_trains_nothing_and_prints_the_configuration(tmp_path, capsys):
    argv = ["train", "tiny", "--data", str(ROOT / "tests/data/fashion-sample"), "--out", str(tmp_path / "run"), "--dry-run"]
    assert cli.main([*argv, "--set", "stage.0.epochs=3", "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["stage"][0]["epochs"] == 3.0
    assert "memory: on cpu, " in shown.err
    assert not (tmp_path / "run" / "last.pt").exists()


def test_a_bad_data_folder_ends_init_with_one_line_and_2(tmp_path, capsys):
    assert cli.main(["init", str(tmp_path), "--out", str(tmp_path / "t.toml")]) == 2
    assert capsys.readouterr().err.startswith("twofold-train: no train-*.parquet in the data folder, and no sub-folder")


def test_an_evaluation_classifier_takes_size_and_background_of_a_configuration(folder, tmp_path, written):
    assert (
        cli.main(["eval-classifier", "--data", str(folder), "--out", str(tmp_path / "eval_classifier"), "--config", str(written[0])]) == 0
    )
    assert json.loads((tmp_path / "eval_classifier" / "eval_classifier.json").read_text())["shape"] == [28, 28, 1]
    assert load_for(DataConfig(), folder)[0].pixels.shape[1:] == (28, 28, 3)


def test_validations_are_part_of_the_time():
    facts = DatasetFacts("mine", 28, 28, 1, (0,), 10, 12_800, 1280)
    trial = from_dict(tomllib.loads(text(facts, dict.fromkeys(STAGES, 1.0), "")))
    step_s = tuple(10.0 * stage.batch / facts.rows for stage in trial.stage)  # an epoch of any stage takes 10 s
    for budget_s in (60.0, 600.0):
        for validation_s in (0.0, 1.0):
            epochs = lengths(facts, trial, Profile(step_s, validation_s, 0.0, 0), budget_s)
            validations = sum(min(math.ceil(e), VALIDATIONS) for e in epochs.values())
            assert 0.6 * budget_s < 10 * sum(epochs.values()) + validation_s * validations <= budget_s


def test_a_device_that_is_not_there_ends_with_one_line_and_2(folder, tmp_path, capsys, written):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    for argv in (
        ["init", str(folder), "--out", str(tmp_path / "t.toml")],
        ["train", str(written[0]), "--data", str(folder), "--out", str(tmp_path / "run"), "--dry-run"],
        ["eval-classifier", "--data", str(folder), "--out", str(tmp_path / "eval_classifier")],
    ):
        assert cli.main([*argv, "--device", "cuda"]) == 2
        assert capsys.readouterr().err.startswith("twofold-train: device cuda: torch finds none here")
