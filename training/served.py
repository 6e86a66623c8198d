"""What the rooms that measure and show need of a served model: two protocols that `service.arrays.Arrays` keeps.

Knows shapes, and nothing of bundles or the service.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from model.contract import Floats, Pixels


class Codes(Protocol):
    """What `encode` gives: arrays with one row per picture."""

    @property
    def z_s(self) -> Floats: ...
    @property
    def z_u_mean(self) -> Floats: ...
    @property
    def z_u_log_var(self) -> Floats: ...
    @property
    def class_log_prob(self) -> Floats: ...
    @property
    def log_density(self) -> Floats: ...


class Model(Protocol):
    """The part of `service.arrays.Arrays` that is measured and shown."""

    def encode(self, pictures: Pixels, /) -> Codes: ...
    def decode(self, z_s: Floats, z_u: Floats, /) -> Pixels: ...
    def swap(self, class_from: Pixels, style_from: Pixels, /) -> Pixels: ...
    def inpaint(self, pictures: Pixels, holes: NDArray[np.bool_], /) -> Pixels: ...
    def sample(
        self, labels: NDArray[np.int64], /, seed: int, *, sampler: Literal["fitted", "paper"] = "fitted"
    ) -> tuple[Floats, Floats]: ...
