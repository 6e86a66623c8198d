"""A small training run as a process of its own, to be killed, signalled, or run beside others: `python -m tests.trainee FOLDER`.

It says "stage step" after every step, and hashes what it has learned in the end. All stages, with dropout; pictures drawn here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from twofold.training.config.schema import Config, read
from twofold.training.data.dataset import Pictures
from twofold.training.trainer import checkpoint
from twofold.training.trainer.distributed import join
from twofold.training.trainer.trainer import Trainer

SIZES = {f"model.{part}_widths": "[4, 6]" for part in ("encoder_s", "encoder_u", "decoder")} | {"model.discriminator_widths": "[4, 6, 8]"}


def pictures(rows_per_class: int = 24, classes: int = 4, seed: int = 0) -> Pictures:
    """Bars of 8x8 pixels: the class is the column, the style is the brightness."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(classes, dtype=np.int64), rows_per_class)
    pixels = rng.integers(0, 40, (len(labels), 8, 8, 1), np.uint8)
    pixels[np.arange(len(labels)), :, 2 * labels] += rng.integers(60, 200, (len(labels), 1, 1), np.uint8)
    return Pictures(pixels, labels, tuple("abcd"[:classes]), {"name": "bars", "split": "train"})


def config(epochs: float = 1.0, **changes: str) -> Config:
    """The stages of the tiny preset, cut short, for 8x8 pictures."""
    short = {f"stage.{i}.{key}": value for i in range(5) for key, value in (("epochs", str(epochs)), ("batch", "16"))}
    return read("tiny", SIZES | short | {"model.dropout": "0.3"} | changes)


def learned(folder: Path, name: str = "last.pt") -> str:
    """SHA-256 over every tensor of a checkpoint: model, average and optimisers."""
    state, found = checkpoint.load(folder / name), hashlib.sha256()
    for path, tensor in sorted(_tensors(state, ""), key=lambda pair: pair[0]):
        found.update(path.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def _tensors(node: Any, path: str) -> list[tuple[str, torch.Tensor]]:
    if isinstance(node, torch.Tensor):
        return [(path, node)]
    if isinstance(node, dict):
        return [pair for key, value in node.items() for pair in _tensors(value, f"{path}/{key}")]
    return []


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--save-every-s", type=float, default=0.0)
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    torch.set_num_threads(1)
    changes = dict(item.split("=", 1) for item in args.set)
    with join("cpu") as distributed:
        trainer = Trainer(
            config(args.epochs, **changes),
            pictures(),
            pictures(10, seed=1),
            args.folder,
            lambda figures: print(figures["stage_number"], figures["step"], flush=True),
            distributed=distributed,
        )
        trainer.run(save_every_s=args.save_every_s, log_every_s=0)
        found = hashlib.sha256()
        for name, tensor in trainer.model.state_dict().items():
            found.update(name.encode() + tensor.contiguous().numpy().tobytes())
        print(json.dumps({"rank": distributed.rank, "processes": distributed.size, "model": found.hexdigest()}), flush=True)


if __name__ == "__main__":
    main()
