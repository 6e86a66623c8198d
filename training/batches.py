"""Which pictures make a batch, and how they are augmented: pure functions of (seed, stage, draw).

Knows pictures in memory and the codes of frozen encoders; knows nothing of losses, time or files.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from model.posterior import DiagonalGaussian
from training.codes import Codes, to_tensor
from training.config import Stage
from training.data import Pictures
from training.processes import ALONE, Team
from training.step import Batch

AUGMENTATION, NOISE, DROPOUT = 2, 3, 4  # purposes of a draw


def seed_of(*entropy: int) -> int:
    """A seed that is a function of (seed, stage, step, purpose, ...)."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def batches(train: Pictures, stage: Stage, place: tuple[int, int], step: int, codes: Codes | None, team: Team = ALONE) -> Iterator[Batch]:
    """This process's share of every batch from a step on, endlessly. `place` is (seed, number of the stage)."""
    draw, epoch, order = step * stage.batches_per_step, -1, np.empty((0, stage.batch), np.int64)
    while True:
        if not len(order) or draw // len(order) != epoch:
            epoch = draw // max(1, len(train) // stage.batch)
            order = epoch_rows(train, stage, (*place, epoch))
        rows = team.share(order[draw % len(order)])
        rng = np.random.default_rng(seed_of(*place, draw // stage.batches_per_step, AUGMENTATION))
        draw += 1
        yield _batch(train, stage, rows, rng, codes, team)


def epoch_rows(train: Pictures, stage: Stage, seed: tuple[int, ...]) -> np.ndarray:
    """Row indices of all batches of an epoch: [batches, B]."""
    rng = np.random.default_rng(seed)
    labels, per_epoch = train.labels, max(1, len(train) // stage.batch)
    if not stage.pictures_per_class:
        return np.resize(rng.permutation(len(labels)), (per_epoch, stage.batch))
    by_class = [np.flatnonzero(labels == k) for k in range(len(train.class_names))]
    groups = max(1, stage.batch // stage.pictures_per_class)
    chosen = np.stack([rng.permutation(np.resize(rng.permutation(len(by_class)), groups)) for _ in range(per_epoch)])
    return np.stack([np.concatenate([rng.choice(by_class[k], stage.pictures_per_class) for k in row]) for row in chosen])


def _batch(train: Pictures, stage: Stage, rows: np.ndarray, rng: np.random.Generator, codes: Codes | None, team: Team) -> Batch:
    x = to_tensor(train.pixels[rows], team.device)
    if stage.flip or stage.shift:
        x = augment(x, stage, rng, team)
    label = torch.from_numpy(train.labels[rows]).to(team.device)
    if codes is None:
        return Batch(x, label)
    index = torch.from_numpy(rows).to(team.device)
    z_s = None if "encoder_s" in stage.moved else codes.z_s[index]
    q = None if "encoder_u" in stage.moved else DiagonalGaussian(codes.q.mean[index], codes.q.log_var[index])
    return Batch(x, label, z_s, q)


def augment(x: Tensor, stage: Stage, rng: np.random.Generator, team: Team = ALONE) -> Tensor:
    """Mirror half of the pictures and move each by up to `shift` pixels; borders repeat. x [B, C, H, W]."""
    whole, device = len(x) * team.size, x.device
    if stage.flip:
        mirror = torch.from_numpy(team.share(rng.random(whole) < 0.5)).to(device)
        x = torch.where(mirror[:, None, None, None], x.flip(3), x)
    if stage.shift:
        height, width = x.shape[2:]
        padded = torch.nn.functional.pad(x, (stage.shift,) * 4, mode="replicate")
        dy, dx = (torch.from_numpy(team.share(rng.integers(0, 2 * stage.shift + 1, whole))).to(device) for _ in range(2))
        rows = dy[:, None] + torch.arange(height, device=device)
        columns = dx[:, None] + torch.arange(width, device=device)
        picture = torch.arange(len(x), device=device)[:, None, None]
        x = padded[picture, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return x
