"""Which pictures make a batch, and how they are augmented: pure functions of (seed, stage, draw).

Knows pictures in memory and the codes of frozen encoders; knows nothing of losses, time or files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from torch import Tensor

from twofold.model.posterior import DiagonalGaussian
from twofold.training.config.schema import Stage
from twofold.training.data.augment import corners, cut_out, mirrored, moved, recoloured, turned
from twofold.training.data.dataset import Pictures
from twofold.training.trainer.distributed import SINGLE_PROCESS, Distributed
from twofold.training.trainer.draws import seed_of
from twofold.training.trainer.forward import Batch
from twofold.training.trainer.latents import Codes, on_device, to_tensor

Item = TypeVar("Item")
AUGMENTATION = 2  # the purpose of a draw, beside that of an epoch's order


def batches(
    train: Pictures, stage: Stage, place: tuple[int, int], step: int, codes: Codes | None, distributed: Distributed = SINGLE_PROCESS
) -> Iterator[Batch]:
    """The shard of this process of every batch from a step on, endlessly. `place` is (seed, number of the stage)."""
    draw, epoch, order = step * stage.batches_per_step, -1, np.empty((0, stage.batch), np.int64)
    while True:
        if not len(order) or draw // len(order) != epoch:
            epoch = draw // max(1, len(train) // stage.batch)
            order = epoch_rows(train, stage, (*place, epoch))
        rows = distributed.shard(order[draw % len(order)])
        rng = np.random.default_rng(seed_of(*place, draw, AUGMENTATION))
        draw += 1
        yield _batch(train, stage, rows, rng, codes, distributed)


def prefetched(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in a thread of its own while the one before is in use: for a device that need not wait for the host.

    `items` must not end.
    """
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items)
        while True:
            item = coming.result()
            coming = pool.submit(next, items)
            yield item


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


def _batch(
    train: Pictures, stage: Stage, rows: np.ndarray, rng: np.random.Generator, codes: Codes | None, distributed: Distributed
) -> Batch:
    plain = to_tensor(train.pixels[rows], distributed.device)
    x = augment(plain, stage, rng, distributed) if stage.augments else plain
    label = on_device(train.labels[rows], distributed.device)
    if codes is None:
        return Batch(x, label, plain=plain)
    index = on_device(rows, distributed.device)
    z_s = None if "encoder_s" in stage.trained else codes.z_s[index]
    q = None if "encoder_u" in stage.trained else DiagonalGaussian(codes.q.mean[index], codes.q.log_var[index])
    return Batch(x, label, z_s, q, plain)


def augment(x: Tensor, stage: Stage, rng: np.random.Generator, distributed: Distributed = SINGLE_PROCESS) -> Tensor:
    """The augmentations of a stage, in the order of its keys; every picture by an amount of its own. x [B, C, H, W] in [0, 1]."""
    whole, sides = len(x) * distributed.size, (x.shape[2], x.shape[3])

    def mine(drawn: np.ndarray) -> Tensor:
        return on_device(distributed.shard(drawn), x.device)

    if stage.flip:
        x = mirrored(x, mine(rng.random(whole) < 0.5))
    if stage.shift:
        down, right = (mine(rng.integers(0, 2 * stage.shift + 1, whole)) for _ in range(2))
        x = moved(x, down, right, (stage.shift, stage.shift))
    if stage.scale or stage.rotate:
        angle, factor = (2 * mine(rng.random(whole, np.float32)) - 1 for _ in range(2))
        x = turned(x, math.radians(stage.rotate) * angle, (stage.scale * factor).exp())
    if stage.jitter:
        x = recoloured(x, stage.jitter * (2 * mine(rng.random((whole, 2 + x.shape[1]), np.float32)) - 1))
    if stage.cutout:
        hole = (stage.cutout, stage.cutout)
        x = cut_out(x, *corners(mine(rng.random((whole, 2))), sides, hole), hole)
    return x
