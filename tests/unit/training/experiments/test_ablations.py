"""The table: every row is trained once, measured once, and shown with what it is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.pictures import write_pictures
from tests.trainee import config
from twofold.training.evaluation.eval_classifier import EvalClassifierConfig, train_eval_classifier
from twofold.training.experiments.ablation_plan import configure, read_plan
from twofold.training.experiments.ablations import (
    COLUMNS,
    FIGURES,
    SAMPLE_COLUMNS,
    STYLE_COLUMNS,
    TABLE,
    AblationOptions,
    reproduce,
    start_of,
)
from twofold.training.trainer.checkpoint import CheckpointError

pytestmark = pytest.mark.slow
ROWS = ("without refitting", "cGAN")


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> AblationOptions:
    """Two rows and the one that the first is like, on 8x8 pictures, with an evaluation classifier that is there already."""
    root = tmp_path_factory.mktemp("reproduce")
    data = write_pictures(root / "data", train=200, test=40)
    train_eval_classifier(data, root / "eval_classifier", EvalClassifierConfig(widths=(4, 4, 4), epochs=1, batch=20), log=lambda line: None)
    plan = replace(read_plan(), scale=1.0)
    base = config(**{"data.validation_rows": "20"})
    return AblationOptions(data, root / "table", root / "eval_classifier", base, plan, ROWS, quick=True)


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def text(options, said) -> str:
    return reproduce(options, said.append)


@pytest.fixture(scope="module")
def rows(options, text) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads((options.out / FIGURES).read_text(encoding="utf-8"))["rows"]}


def test_the_table_has_real_pictures_and_a_line_for_every_row(options, text):
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert [line[0] for line in lines] == ["row", "---", "real pictures", "ours", "without refitting", "cGAN"]
    assert {len(line) for line in lines} == {len(COLUMNS) + 3}
    assert (options.out / TABLE).read_text(encoding="utf-8") == text
    leak = lines[0].index("leak, linear")
    assert (lines[2][leak], lines[5][leak]) == ("0.250", "n/a")  # chance stands beside the leak wherever it was measured
    assert "* **cGAN**: G takes the mean of the class" in text
    assert "a sample: no figures" in text


def test_a_row_without_a_style_encoder_has_no_figures_of_one(rows, text):
    assert {rows["cGAN"]["values"][key] for key in STYLE_COLUMNS} == {None}
    assert all(rows["cGAN"]["values"][key] is not None for key in ("class_accuracy", *SAMPLE_COLUMNS))
    assert all(value is not None for value in rows["ours"]["values"].values())
    assert text.count("n/a |") == len(STYLE_COLUMNS) + 2


def test_a_row_like_another_is_its_model_read_with_the_other_sampler(options, rows):
    ours, other = rows["ours"], rows["without refitting"]
    found = json.loads((options.out / "ours" / "validation.json").read_text(encoding="utf-8"))["values"]
    assert other["model_hash"] == ours["model_hash"]
    assert not (options.out / "without-refitting").exists()
    for key in COLUMNS:
        assert ours["values"][key] == found[key]
        assert other["values"][key] == found[key + "_paper" * (key in SAMPLE_COLUMNS)]


def test_shared_stages_are_trained_once_and_counted_in_every_row(options, rows):
    stages = {json.loads(line)["stage"] for line in (options.out / "cgan" / "log.jsonl").read_text(encoding="utf-8").splitlines()}
    assert stages == {"codes"}
    assert rows["ours"]["core_minutes"] > 0
    # each of the three stages of ours that train G is rounded up to whole steps, the one stage of the cGAN once
    assert 0 <= rows["ours"]["decoder_steps"] - rows["cGAN"]["decoder_steps"] <= 2


@pytest.mark.parametrize(
    ("row", "there", "start"),
    [
        ("cGAN", [], None),
        ("cGAN", ["ours/stage-1.pt"], "ours"),
        ("without the flow", ["cgan/stage-1.pt", "ours/stage-1.pt", "ours/stage-2.pt"], "ours"),
        ("without the flow", ["cgan/stage-1.pt", "ours/stage-1.pt"], "cgan"),  # ours is not so far yet
        ("paper", ["ours/stage-1.pt", "paper/stage-1.pt"], None),
    ],
)
def test_a_row_starts_from_the_one_that_has_trained_most_of_its_stages(tmp_path, row, there, start):
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    configs = {v.name: configure(v, config(), 1.0) for v in read_plan().variant if not v.like}
    found = start_of(tmp_path, configs[row], list(configs.values()))
    assert found == (tmp_path / start if start else None)


def test_what_is_there_is_kept(options, text, said):
    before = {path: path.stat().st_mtime_ns for path in options.out.glob("*/*.*") if path.suffix in (".pt", ".json", ".jsonl")}
    assert reproduce(options, said.append) == text
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_figures_of_another_evaluation_classifier_are_measured_again(options, text):
    file = options.out / "cgan" / "validation.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**found, "eval_classifier": {**found["eval_classifier"], "hash": "0" * 64}}), encoding="utf-8")
    assert reproduce(options, lambda line: None) == text
    assert json.loads(file.read_text(encoding="utf-8"))["eval_classifier"] == found["eval_classifier"]


def test_rows_of_another_scale_are_refused(options, text):
    with pytest.raises(CheckpointError, match="another configuration"):
        reproduce(replace(options, plan=replace(options.plan, scale=2.0)), lambda line: None)
