"""The run folder says who made what from what, and forgets what a cut run wrote after its checkpoint."""

from __future__ import annotations

import getpass
import json
import platform

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.trainee import config, pictures
from twofold.training.config.environment import environment
from twofold.training.data.provenance import digest, manifest
from twofold.training.trainer.checkpoint import CheckpointError
from twofold.training.trainer.run_dir import RunDir


@pytest.fixture
def folder(tmp_path):
    folder = RunDir(tmp_path / "run")
    yield folder
    folder.close()


def line(stage: int, step: int) -> dict:
    return {"time": "2026-01-01T00:00:00+00:00", "stage_number": stage, "step": step, "loss_class": 0.5 * step}


def steps(folder: RunDir) -> list[tuple[int, int]]:
    lines = (folder.path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [(facts["stage_number"], facts["step"]) for facts in map(json.loads, lines)]


def test_configuration_environment_and_data_are_written_out(folder):
    data = manifest(pictures(), pictures(10, seed=1))
    folder.describe(config().to_dict(), environment(torch.device("cpu"), 1), data)
    read = {name: json.loads((folder.path / f"{name}.json").read_text(encoding="utf-8")) for name in ("config", "environment", "data")}
    assert read["config"] == json.loads(json.dumps(config().to_dict()))
    assert read["data"]["rows_per_class"] == {"a": 24, "b": 24, "c": 24, "d": 24}
    assert (read["data"]["train_rows"], read["data"]["validation_rows"], read["data"]["shape"]) == (96, 40, [8, 8, 1])
    assert read["environment"]["python"] == platform.python_version()
    assert {"torch", "numpy"} <= set(read["environment"]["packages"])
    assert (read["environment"]["device"], read["environment"]["processes"]) == ("cpu", 1)


def test_the_environment_names_no_person_no_host_and_no_path():
    text = json.dumps(environment(torch.device("cpu"), 1))
    assert "/" not in text.replace("GNU/Linux", "")
    assert platform.node() not in text
    assert getpass.getuser() not in text


def test_one_changed_pixel_label_or_class_name_changes_the_hash_of_the_data():
    first, other = pictures(), pictures()
    assert digest(first) == digest(other)
    other.pixels[5, 3, 3, 0] ^= 1
    labelled = pictures()
    labelled.labels[0] = 1
    named = manifest(pictures(classes=3), pictures())["sha256"]["train"]
    assert len({digest(first), digest(other), digest(labelled), named}) == 4


def test_a_run_that_goes_on_forgets_the_lines_after_its_checkpoint_and_a_torn_one(folder):
    folder.open(1, 0, 0)
    for stage, step in ((1, 1), (1, 2), (2, 1), (2, 2)):
        folder.log(line(stage, step), 2 * stage + step)
    folder.close()
    with (folder.path / "log.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"stage_number": 2, "st')
    folder.open(2, 1, 5)
    assert steps(folder) == [(1, 1), (1, 2), (2, 1)]
    folder.log(line(2, 2), 6)
    assert steps(folder) == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_tensorboard_reads_the_losses_of_the_whole_run_and_none_twice(folder):
    folder.open(1, 0, 0)
    for step in (1, 2, 3):
        folder.log(line(1, step), step)
    folder.close()
    folder.open(1, 2, 2)
    folder.log(line(1, 3) | {"loss_class": 9.0}, 3)
    folder.close()
    found = EventAccumulator(str(folder.path / "scalars")).Reload().Scalars("loss/class")
    assert [(event.step, event.value) for event in found] == [(1, 0.5), (2, 1.0), (3, 9.0)]


def test_sheets_become_a_film_in_their_order(folder):
    for stage, step, level in ((2, 1, 200), (1, 20, 100), (1, 3, 0)):
        folder.save_sheet(np.full((6, 9, 1), level, np.uint8), stage, step)
    folder.film()
    with Image.open(folder.path / "film.webp") as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (3, (9, 6), 0)
        levels = []
        for frame in range(3):
            film.seek(frame)
            levels.append(np.asarray(film.convert("L")).mean())
    assert levels == pytest.approx([0, 100, 200], abs=4)


def test_a_run_without_a_validation_has_no_film(folder):
    folder.film()
    assert not (folder.path / "film.webp").exists()


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(CheckpointError, match="cannot be written"):
        RunDir(tmp_path / "run")
