"""docs/method.md explains every loss, every key of a configuration, every action and every measure, and none that is not there."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from twofold.model.vae_gan import PARTS, Sizes
from twofold.training.config.schema import PRESETS, Config, DataConfig, Stage, Update
from twofold.training.evaluation.metric_table import MEASURES
from twofold.training.experiments.ablation_plan import read_plan
from twofold.training.trainer.calibration import ACTIONS
from twofold.training.trainer.objectives import OBJECTIVES

PAGE = (Path(__file__).parents[2] / "docs/method.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"there is no section {title}"
    return found[1]


def first_column(title: str) -> list[str]:
    cells = [line.split("|")[1] for line in section(title).splitlines() if line.startswith("|")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def test_every_loss_and_no_other_is_explained_once():
    assert sorted(first_column("The losses")) == sorted(OBJECTIVES)


def test_every_key_of_a_stage_and_of_an_update_and_no_other_is_explained_once():
    assert sorted(first_column("Keys of a `[[stage]]`")) == sorted(names(Stage))
    assert sorted(first_column("Keys of a `[[stage.update]]`")) == sorted(names(Update))


def test_every_key_outside_the_stages_and_no_other_is_explained_once():
    tables = {"data": DataConfig, "model": Sizes}
    known = [key for key in names(Config) if key not in ("stage", *tables)]
    known += [f"{table}.{key}" for table, kind in tables.items() for key in names(kind)]
    assert sorted(first_column("Keys outside the stages")) == sorted(known)


def test_every_action_and_no_other_is_explained_once():
    assert sorted(first_column("Actions")) == sorted(ACTIONS)


def test_every_part_has_its_symbol():
    assert {part for part in PARTS if f"`{part}` (" in section("Training is a list of stages")} == set(PARTS)


def test_the_papers_table_names_the_losses_of_its_preset():
    text = (PRESETS / "paper.toml").read_text(encoding="utf-8")
    used = {term for body in re.findall(r"^move\.\w+ = \{(.*)\}", text, re.MULTILINE) for term in re.findall(r"(\w+) =", body)}
    objectives = " ".join(
        line.split("|")[2] for line in section("paper.toml: the paper as published").splitlines() if line.startswith("| `")
    )
    assert {word for word in re.findall(r"\w+", objectives) if not word[0].isdigit()} == used


def test_the_rows_of_the_baselines_are_those_of_the_plan():
    lines = [line for line in section("Baselines and ablations").splitlines() if line.startswith("| ")][1:]
    assert lines == [f"| {variant.name} | {variant.note} |" for variant in read_plan().variant]


def test_the_lines_of_the_figures_have_the_definitions_of_the_code():
    lines = [line for line in section("What is measured").splitlines() if line.startswith("| ")][1:]
    assert lines == [f"| {measure.title} | {measure.definition} |" for measure in MEASURES]
