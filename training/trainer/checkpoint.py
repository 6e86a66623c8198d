"""Atomic save and bit-exact resume. A checkpoint is wholly old or wholly new, and holds tensors and plain types only.

No random state is saved: every draw of a run is a function of (seed, stage, step, purpose), see draws.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from twofold.files import atomic_file


class CheckpointError(Exception):
    """A checkpoint is missing, damaged, or of another run."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write beside, flush to disk, rename into place. Raises CheckpointError (a full disk) and leaves the old file whole."""
    try:
        with atomic_file(path) as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
    except (OSError, RuntimeError) as error:  # torch wraps what the stream raised
        raise CheckpointError(f"{path.name}: cannot be written (is the disk full?); what was saved before is whole") from error
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint (`weights_only`: no pickled code runs). Raises CheckpointError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.name}: no such checkpoint") from error
    except Exception as error:  # torch and zipfile raise many kinds on a damaged file
        raise CheckpointError(f"{path.name}: damaged") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path.name}: not a checkpoint of this project")
    return state
