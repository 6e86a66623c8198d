"""Random numbers of a run: every draw is a function of (seed, stage, step, ...) and of what it is for, its purpose.

Each purpose has a generator of its own, so a loss that is added, removed or renamed changes no draw of another, and no random state
has to be saved for a run to be resumed bit for bit. Knows processes and their shards; knows no losses and no models.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

from twofold.training.trainer.distributed import SINGLE_PROCESS, Distributed


def seed_of(*entropy: int) -> int:
    """A seed of 63 bits that is a function of (seed, stage, step, ...)."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


class Draws:
    """The random numbers of one forward pass. `place` names the pass: (seed, stage, step, update, repetition).

    With several processes noise is drawn for the whole batch and each takes the shard of its rows: a row's noise is the same however
    many processes divide the batch.
    """

    def __init__(self, place: tuple[int, ...], distributed: Distributed = SINGLE_PROCESS) -> None:
        self.place, self.distributed = place, distributed

    def generator(self, purpose: str) -> torch.Generator:
        """A fresh generator on the run's device, the same for the same place and purpose."""
        return torch.Generator(self.distributed.device).manual_seed(self._seed(purpose))

    def normal(self, purpose: str, rows: int, dim: int) -> Tensor:
        """Standard normal noise [rows, dim] for this process's rows."""
        whole = torch.randn(rows * self.distributed.size, dim, generator=self.generator(purpose), device=self.distributed.device)
        return self.distributed.shard(whole)

    def uniform(self, purpose: str, rows: int, dim: int) -> Tensor:
        """Uniform noise in [0, 1), [rows, dim], for this process's rows."""
        whole = torch.rand(rows * self.distributed.size, dim, generator=self.generator(purpose), device=self.distributed.device)
        return self.distributed.shard(whole)

    def dropout(self, purpose: str) -> None:
        """Seed torch's global generators, which dropout draws from; each process drops activations of its own."""
        torch.manual_seed(self._seed(f"dropout {purpose} {self.distributed.rank}"))

    def _seed(self, purpose: str) -> int:
        return seed_of(*self.place, zlib.crc32(purpose.encode()))
