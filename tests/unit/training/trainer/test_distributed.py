"""Several processes train as one: two on the CPU, connected by gloo, against one; and the shards of any number of processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainee import config, pictures
from twofold.training.config.schema import ConfigError
from twofold.training.trainer import checkpoint
from twofold.training.trainer.batches import batches
from twofold.training.trainer.distributed import SINGLE_PROCESS, Distributed, join
from twofold.training.trainer.trainer import Trainer

ROOT = Path(__file__).parents[4]
# A stage without BatchNorm and without pairs: nothing in it depends on which rows a process holds, so two must do what one does.
FLOW_ALONE = ("--set=stage.0.epochs=0", "--set=stage.1.epochs=0", "--set=stage.3.epochs=0", "--set=stage.4.epochs=0")


def train(folder: Path, processes: int, *options: str) -> list[dict]:
    """Run the trainee in so many processes; what each prints in the end, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(processes)}
    command = [sys.executable, "-m", "tests.trainee", str(folder), *options]
    started = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(processes)
    ]
    said = [process.communicate(timeout=200)[0].splitlines() for process in started]
    assert [process.returncode for process in started] == [0] * processes
    assert all(len(lines) == 1 for lines in said[1:])  # only the first prints while it trains
    return [json.loads(lines[-1]) for lines in said]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / "last.pt")["model"]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    (alone,) = train(one, 1, *FLOW_ALONE)
    first, second = train(two, 2, *FLOW_ALONE)
    assert (alone["processes"], first["processes"], [first["rank"], second["rank"]]) == (1, 2, [0, 1])
    before, expected = weights_before(), weights(one)
    assert not torch.equal(before["flow.couplings.0.last.weight"], expected["flow.couplings.0.last.weight"])
    for name, value in weights(two).items():
        assert torch.allclose(value.float(), expected[name].float(), rtol=1e-3, atol=1e-5), name


def weights_before() -> dict[str, torch.Tensor]:
    from twofold.training.trainer.trainer import build

    return build(config(), pictures()).state_dict()


@pytest.mark.slow
def test_all_processes_end_with_the_same_bits_and_go_on_after_a_stop(tmp_path):
    first, second = train(tmp_path, 2)
    assert first["model"] == second["model"]
    again = train(tmp_path, 2)
    assert [said["model"] for said in again] == [first["model"]] * 2
    names = {path.name for path in tmp_path.iterdir()}
    assert {"last.pt", "best.pt", "log.jsonl", "film.webp"} <= names
    assert json.loads((tmp_path / "environment.json").read_text(encoding="utf-8"))["processes"] == 2


def test_the_shards_of_a_batch_are_the_batch():
    stage = config().stage[0]
    whole = next(batches(pictures(), stage, (0, 0), 3, None))
    parts = [next(batches(pictures(), stage, (0, 0), 3, None, Distributed(rank=rank, size=4))) for rank in range(4)]
    assert torch.equal(torch.cat([part.x for part in parts]), whole.x)  # augmentation included
    assert torch.equal(torch.cat([part.label for part in parts]), whole.label)


def test_one_process_averages_nothing_and_decides_alone():
    value = torch.arange(3.0)
    SINGLE_PROCESS.average([value])
    assert value.tolist() == [0, 1, 2]
    assert (SINGLE_PROCESS.any(True), SINGLE_PROCESS.any(False), SINGLE_PROCESS.first) == (True, False, True)
    assert np.array_equal(SINGLE_PROCESS.shard(np.arange(4)), np.arange(4))


def test_a_batch_that_cannot_be_divided_is_refused_by_its_stage(tmp_path):
    with pytest.raises(ConfigError, match=r"'class encoder': batch must be a multiple of the 3 processes"):
        Trainer(config(), pictures(), pictures(10), tmp_path, lambda figures: None, distributed=Distributed(size=3))


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="device must be one of auto, cpu, cuda"), join("tpu"):
        pass
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="torch finds none here"), join("cuda"):
            pass


def test_one_process_is_alone_on_the_cpu():
    with join("cpu", environ={}) as distributed:
        assert (distributed.rank, distributed.size, distributed.device.type) == (0, 1, "cpu")
