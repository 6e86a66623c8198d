"""A fake model for the batcher: doubles its rows, remembers its batches, and blocks until the test lets it run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import numpy as np


class BlockingModel:
    """rows -> rows. A row of `poison` raises; NaN in gives NaN out."""

    def __init__(self, *, blocked: bool = True, poison: float = -1.0) -> None:
        self.batches: list[list[float]] = []
        self.before: Callable[[int], object] = lambda n: None
        self._poison = poison
        self._unblocked, self._started = threading.Event(), threading.Event()
        if not blocked:
            self._unblocked.set()

    def __call__(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        self.batches.append(inputs[0].tolist())
        self._started.set()
        if not self._unblocked.wait(20):
            raise TimeoutError("the test never unblocked the model")
        self.before(len(inputs[0]))
        if (inputs[0] == self._poison).any():
            raise ValueError("poison")
        return (inputs[0] * 2,)

    def unblock(self) -> None:
        self._unblocked.set()

    def block(self) -> None:
        self._unblocked.clear()
        self._started.clear()

    async def started(self) -> None:
        """Wait until a batch has reached the model."""
        assert await asyncio.to_thread(self._started.wait, 20)
