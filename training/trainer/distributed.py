"""One process, or several that train as one. Knows ranks and devices; knows nothing of losses, models or files.

With several processes every batch is divided: each takes its share of the rows, gradients are averaged before any part moves,
and so are BatchNorm's running figures (each process normalises by its own rows). So all hold the same model bit for bit, and
one of them, the first, writes.

The processes are started from outside, and Accelerate joins them:

    torchrun --nproc-per-node 2 -m twofold.training.cli train fashion --data DATA --out RUN
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from twofold.training.config.schema import ConfigError

if TYPE_CHECKING:
    from accelerate import Accelerator

Rows = TypeVar("Rows", bound=Any)  # a tensor or an array whose first axis is the rows of a batch
DEVICES = ("auto", "cpu", "cuda")


class Distributed:
    """The processes of a run, as one of them sees them. This one is alone: rank 0 of 1."""

    def __init__(self, device: torch.device | str = "cpu", rank: int = 0, size: int = 1) -> None:
        self.device, self.rank, self.size = torch.device(device), rank, size

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def shard(self, rows: Rows) -> Rows:
        """This process's rows of a whole batch [B, ...] -> [B / size, ...]."""
        each = len(rows) // self.size
        return rows[self.rank * each : (self.rank + 1) * each]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in place."""

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any of the processes; all of them wait here for one another."""
        return flag


SINGLE_PROCESS = Distributed()


class Several(Distributed):
    """A process among others, joined by Accelerate."""

    def __init__(self, accelerator: Accelerator) -> None:
        super().__init__(accelerator.device, accelerator.process_index, accelerator.num_processes)
        self.accelerator = accelerator

    def average(self, tensors: Sequence[Tensor]) -> None:
        if not tensors:
            return
        with torch.no_grad():
            flat = self.accelerator.reduce(torch.cat([tensor.reshape(-1) for tensor in tensors]), "mean")
            for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(mean.view(tensor.shape))

    def any(self, flag: bool) -> bool:
        votes = self.accelerator.reduce(torch.tensor([float(flag)], device=self.device), "sum")
        return bool(votes.item() > 0)


@contextmanager
def join(device: str = "auto", environ: Mapping[str, str] = os.environ) -> Iterator[Distributed]:
    """The team of this process on the asked device (`auto`: a GPU where there is one). Raises ConfigError."""
    if device not in DEVICES:
        raise ConfigError(f"device must be one of {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda: torch finds none here; use --device cpu, or install a torch built for this GPU")
    if int(environ.get("WORLD_SIZE", "1")) == 1:
        gpu = device != "cpu" and torch.cuda.is_available()
        yield Distributed("cuda" if gpu else "cpu")
        return
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=device == "cpu")
    try:
        yield Several(accelerator)
        accelerator.wait_for_everyone()  # one that leaves early takes the connection from under the others' threads, and they abort
    finally:
        accelerator.end_training()
