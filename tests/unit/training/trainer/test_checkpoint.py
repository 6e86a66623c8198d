"""A checkpoint is wholly old or wholly new."""

from __future__ import annotations

import resource
from contextlib import contextmanager

import pytest
import torch

from twofold.training.trainer import checkpoint
from twofold.training.trainer.checkpoint import CheckpointError


@contextmanager
def files_end_at(size_bytes: int):
    """A disk that is full after so many bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Unwritable:
    """Fails in the middle of a save, as a bug or an interrupt would."""

    def __reduce__(self):
        raise KeyboardInterrupt


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1, "model": {"w": torch.arange(3.0)}})
    return path


def test_what_is_saved_is_loaded_bit_for_bit(path):
    state = {"step": 7, "config": "{}", "model": {"w": torch.randn(5), "n": torch.tensor(3)}}
    checkpoint.save(path, state)
    loaded = checkpoint.load(path)
    assert (loaded["step"], loaded["config"]) == (7, "{}")
    assert torch.equal(loaded["model"]["w"], state["model"]["w"])
    assert torch.equal(loaded["model"]["n"], state["model"]["n"])


@pytest.mark.parametrize("size_bytes", [0, 100, 60_000])
def test_a_full_disk_leaves_the_old_checkpoint_whole_and_nothing_beside_it(path, size_bytes):
    with files_end_at(size_bytes), pytest.raises(CheckpointError, match="disk full"):
        checkpoint.save(path, {"step": 2, "model": {"w": torch.zeros(20_000)}})
    assert checkpoint.load(path)["step"] == 1
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_save_leaves_the_old_checkpoint_whole_and_nothing_beside_it(path):
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, {"step": 2, "model": Unwritable()})
    assert checkpoint.load(path)["step"] == 1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_a_damaged_checkpoint_is_refused_by_name(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"^last\.pt: damaged$"):
        checkpoint.load(path)


def test_a_missing_checkpoint_is_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match=r"^last\.pt: no such checkpoint$"):
        checkpoint.load(tmp_path / "last.pt")


def test_no_code_in_a_checkpoint_is_ever_run(path, tmp_path):
    witness = tmp_path / "witness"

    class Payload:
        def __reduce__(self):
            return (witness.write_text, ("run",))

    torch.save({"step": Payload()}, path)
    with pytest.raises(CheckpointError):
        checkpoint.load(path)
    assert not witness.exists()


def test_a_file_of_something_else_is_refused(path):
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        checkpoint.load(path)
