"""A disk that fills up at any byte of a run: one clear line, the old checkpoint whole, and the run continues once there is space."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.trainee import config, learned, pictures
from twofold.training.trainer.checkpoint import CheckpointError
from twofold.training.trainer.trainer import Stopped, Trainer

pytestmark = pytest.mark.slow

TRAIN, HELD = pictures(), pictures(10, seed=1)


@contextmanager
def files_end_at(size_bytes: int) -> Iterator[None]:
    """A disk that is full after so many bytes of any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def run(folder: Path, stop_at: int = 0) -> None:
    """Train the first stage, six steps that are all saved; `stop_at` a step as Ctrl-C would."""

    def report(figures: dict) -> None:
        trainer.stopping = figures["step"] == stop_at

    short = config(epochs=1.0)
    trainer = Trainer(type(short)(name="short", stage=short.stage[:1], model=short.model), TRAIN, HELD, folder, report)
    trainer.run(save_every_s=0, log_every_s=0)


def test_a_disk_that_is_full_at_any_byte_costs_no_checkpoint(tmp_path):
    run(tmp_path / "unbroken")
    cut = tmp_path / "cut"
    with pytest.raises(Stopped):
        run(cut, stop_at=3)
    before, whole = learned(cut), (cut / "last.pt").stat().st_size
    for size_bytes in (0, 100, 1000, 2500, 5000, 20_000, whole // 2, whole - 1):
        with files_end_at(size_bytes), pytest.raises(CheckpointError, match="disk full"):
            run(cut)
        assert learned(cut) == before, size_bytes
        assert not list(cut.glob("*.part"))
    run(cut)
    assert learned(cut) == learned(tmp_path / "unbroken")
