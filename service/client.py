"""A bundle in this process, without a server: `Local`. What it computes is what the service serves, through the same functions.

It knows no HTTP and no queue.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from model.contract import Card, Floats, Pixels
from service import bundles, codes
from service.codes import Sampler
from service.engine import Encoded
from service.settings import Settings


class Local:
    """The model of a bundle folder (None: the embedded one). Raises ContractError when the folder is not a good bundle.

    Any number of rows is taken: the engine runs them in chunks, so memory follows the results only.
    """

    def __init__(self, bundle: Path | None = None) -> None:
        files, self._engine = bundles.load_engine(bundle or bundles.DEFAULT_BUNDLE, Settings())
        self.card: Card = files.card
        self.prior = files.prior

    def encode(self, pixels: Pixels) -> Encoded:
        """pixels uint8 [n,H,W,C], n >= 1 -> Encoded of n rows."""
        return self._engine.encode(pixels)

    def decode(self, z_s: Floats, z_u: Floats) -> Pixels:
        """z_s [n,D_s], z_u [n,D_u] -> pixels uint8 [n,H,W,C]."""
        return self._engine.decode(np.asarray(z_s, np.float32), np.asarray(z_u, np.float32))

    def swap(self, class_from: Pixels, style_from: Pixels) -> Pixels:
        """pixels [n,H,W,C] twice -> pixels [n,H,W,C]: row k has the class of class_from[k] and the style of style_from[k]."""
        return self.decode(self.encode(class_from).z_s, self.encode(style_from).z_u_mean)

    def sample(
        self,
        labels: ArrayLike,
        seed: int,
        index: int = 0,
        temperature: float = 1.0,
        class_temperature: float = 1.0,
        sampler: Sampler = "fitted",
    ) -> tuple[Floats, Floats]:
        """Class indices [n] -> z_s [n,D_s], z_u [n,D_u]; picture k draws from the streams of `index + k`."""
        wanted = [int(label) for label in np.asarray(labels)]
        z_s = [codes.sample_z_s(self.prior, label, seed, index + k, class_temperature, sampler) for k, label in enumerate(wanted)]
        z_u = [codes.sample_z_u(self.prior, seed, index + k, temperature, sampler) for k in range(len(wanted))]
        return np.stack(z_s), np.stack(z_u)

    def generate(
        self,
        label: int | str,
        n: int = 1,
        seed: int = 0,
        index: int = 0,
        temperature: float = 1.0,
        class_temperature: float = 1.0,
        sampler: Sampler = "fitted",
    ) -> Pixels:
        """n pictures of a class (index or name) -> pixels uint8 [n,H,W,C]. Raises Invalid on an unknown class."""
        wanted = codes.parse_class(str(label), self.card.class_names)
        return self.decode(*self.sample([wanted] * n, seed, index, temperature, class_temperature, sampler))
