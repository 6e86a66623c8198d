"""One process, or several that train as one. Knows ranks and devices; knows nothing of losses, models or files.

With several processes every batch is divided: each takes its shard of the rows, gradients are averaged before any part is updated,
and so are BatchNorm's running statistics (each process normalises by its own rows). So all hold the same model bit for bit, and
one of them, the first, writes.

The processes are started by torchrun, or by anything that sets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT:

    torchrun --nproc-per-node 2 -m twofold.training train fashion --data DATA --out RUN
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from twofold.training.config.schema import ConfigError

Rows = TypeVar("Rows", Tensor, np.ndarray)  # a tensor or an array whose first axis is the rows of a batch
DEVICES = ("auto", "cpu", "cuda")
LEAVE = timedelta(minutes=10)  # how long a process waits in the end for one that still writes


class Distributed:
    """The processes of a run, as one of them sees them: its device, its rank, and how many there are. By default one on the CPU.

    With a `size` above 1, `average` and `any` need the process group that `join` opens.
    """

    def __init__(self, device: torch.device | str = "cpu", rank: int = 0, size: int = 1) -> None:
        self.device, self.rank, self.size = torch.device(device), rank, size

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def shard(self, rows: Rows) -> Rows:
        """The rows of this process of a whole batch [B, ...] -> [B / size, ...]."""
        each = len(rows) // self.size
        return rows[self.rank * each : (self.rank + 1) * each]

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in place. All tensors have one floating-point type."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])  # one message instead of one for each tensor
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_((total / self.size).view(tensor.shape))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any of the processes; all of them wait here for one another."""
        if self.size == 1:
            return flag
        votes = torch.tensor(int(flag), device=self.device)
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return bool(votes.item())


SINGLE_PROCESS = Distributed()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device called `name`: "cpu", "cuda", or "auto" (a GPU where there is one). Raises ConfigError.

    `local_rank` is the number of the process on its machine: each takes a GPU of its own.
    """
    if name not in DEVICES:
        raise ConfigError(f"device must be one of {', '.join(DEVICES)}")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError("device cuda: torch finds none here; use --device cpu, or install a torch built for this GPU")
    if local_rank >= torch.cuda.device_count():
        raise ConfigError(f"device cuda: there are {torch.cuda.device_count()} GPUs; start as many processes at most, or use --device cpu")
    return torch.device("cuda", local_rank)


@contextmanager
def join(device: str = "auto", environ: Mapping[str, str] = os.environ) -> Iterator[Distributed]:
    """The processes of this run, as torchrun's environment variables describe them; one process where they are not set.

    gloo connects processes on the CPU, NCCL those on GPUs. Raises ConfigError for a device that is not there.
    """
    size, rank = int(environ.get("WORLD_SIZE", "1")), int(environ.get("RANK", "0"))
    chosen = choose_device(device, int(environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield Distributed(chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", rank=rank, world_size=size)
    try:
        distributed = Distributed(chosen, rank, size)
        yield distributed
        _leave_together(rank, size)
    finally:
        dist.destroy_process_group()


def _leave_together(rank: int, size: int) -> None:
    """Return when every process has ended its last collective: one that closes its connections under a pending one makes the others abort.

    The processes meet in the store that they found one another by, not in a collective, which would be pending itself. Rank 0 holds the
    store, so it goes last. Raises torch.distributed.DistStoreError after LEAVE.
    """
    store = dist.distributed_c10d._get_default_store()
    for word, waits in (("arrived", True), ("left", rank == 0)):
        store.set(f"twofold/{word}/{rank}", "")
        if waits:
            store.wait([f"twofold/{word}/{one}" for one in range(size)], LEAVE)
