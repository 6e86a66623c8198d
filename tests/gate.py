"""A fake model for the batcher: doubles its rows, remembers its batches, and waits at a gate that the test opens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import numpy as np


class Gate:
    """rows -> rows. A row of `poison` raises; NaN in gives NaN out."""

    def __init__(self, *, is_open: bool = False, poison: float = -1.0) -> None:
        self.batches: list[list[float]] = []
        self.before: Callable[[int], object] = lambda n: None
        self._poison = poison
        self._open, self._entered = threading.Event(), threading.Event()
        if is_open:
            self._open.set()

    def __call__(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        self.batches.append(inputs[0].tolist())
        self._entered.set()
        if not self._open.wait(20):
            raise TimeoutError("the test never opened the gate")
        self.before(len(inputs[0]))
        if (inputs[0] == self._poison).any():
            raise ValueError("poison")
        return (inputs[0] * 2,)

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.clear()
        self._entered.clear()

    async def entered(self) -> None:
        """Wait until a batch stands at the gate."""
        assert await asyncio.to_thread(self._entered.wait, 20)
