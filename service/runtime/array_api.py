"""A model as functions on arrays: `Arrays`. It computes what the service serves, through the same operations and the same engine.

For measurements and for pictures by the thousand. It knows no HTTP and no queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twofold.model.contract import Floats, Pixels
from twofold.model.preprocessing import to_pixels
from twofold.service.runtime import image_headers, image_io, inpainting, latents, registry
from twofold.service.runtime.engine import Encoded
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.inpainting import Hole
from twofold.service.runtime.operations import Generate, Operation, all_latents
from twofold.service.runtime.parameters import Sampler
from twofold.service.runtime.registry import Model
from twofold.service.settings import Settings

Pictures = NDArray[Any] | Sequence[Any]  # pixels uint8 [n,H,W,C] of the bundle's size, or any of: bytes of a file, path, PIL picture


def load_bundle(bundle: Path | str | None = None, settings: Settings | None = None) -> Arrays:
    """A verified bundle (a folder, or hf:USER/NAME[@REVISION]; None: what the settings say, else the embedded one) as functions on arrays.

    Raises ContractError when it is not a good bundle.
    """
    settings = settings or Settings()
    settings = settings if bundle is None else settings.model_copy(update={"bundle": (Path(bundle),)})
    return Arrays(registry.Registry.open(settings).get(), settings)


class Arrays:
    """Arrays in, arrays out, on the engine of a loaded model.

    Any number of rows is taken: the engine runs them in chunks, so memory follows the results only.
    """

    def __init__(self, model: Model, settings: Settings) -> None:
        self.card = model.card
        self.prior = model.prior
        self.directions = model.directions
        self.mean_picture = model.mean_picture  # what fills a hole at first, uint8 [H,W,C]
        self.provider = model.provider
        self.classified_by = model.classified_by
        self._engine = model.engine
        self._settings = settings

    def encode(self, pictures: Pictures) -> Encoded:
        """n >= 1 pictures -> Encoded of n rows. Raises Invalid, UndecodablePicture, UnsupportedMedia or TooLarge."""
        return self._engine.encode(self._pixels(pictures))

    def decode(self, z_s: ArrayLike, z_u: ArrayLike) -> Pixels:
        """z_s [n,D_s], z_u [n,D_u], n >= 1 -> pixels uint8 [n,H,W,C]. Raises Invalid on another shape or a value that is not finite."""
        return self._engine.decode(*registry.checked_codes(self.card.dims, z_s, z_u))

    def classify(self, pictures: Pictures) -> Floats:
        """n >= 1 pictures -> class log-probabilities float32 [n,K], nats, of the network `classified_by`. Raises as `encode`.

        That is the bundle's evaluation classifier, which shares nothing with the model, or else the model's own encoder.
        """
        return self._engine.classify(self._pixels(pictures))

    def make(self, operation: Operation) -> Pixels:
        """The n pictures of an operation -> pixels uint8 [n,H,W,C]: those that the service gives, but for what is around a hole."""
        return self.decode(*operation.latents(self))

    def swap(self, class_from: Pictures, style_from: Pictures) -> Pixels:
        """n pictures twice -> pixels uint8 [n,H,W,C]: row k has the class of class_from[k] and the style (mean) of style_from[k]."""
        return self.decode(self.encode(class_from).z_s, self.encode(style_from).z_u_mean)

    def inpaint(self, pictures: Pictures, holes: Hole, steps: int = inpainting.STEPS) -> Pixels:
        """n pictures and their holes bool [n,H,W] -> pixels uint8 [n,H,W,C], redrawn in the holes and nowhere else. Raises as `encode`."""
        pixels = self._pixels(pictures)
        if holes.shape != pixels.shape[:3] or holes.dtype != np.bool_:
            raise Invalid("holes must be bool of shape [n,H,W]", field="holes")
        filling = inpainting.Filling(pixels, holes, self.mean_picture, steps)
        for filled in filling:
            encoded = self.encode(filled)
            filling.put(self.decode(encoded.z_s, encoded.z_u_mean))
        return filling.filled

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
        settings = temperature, class_temperature, sampler
        return all_latents([Generate(int(label), seed, index + k, 1, *settings) for k, label in enumerate(np.asarray(labels))], self)

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
        known = latents.parse_class(str(label), self.card.class_names)
        return self.make(Generate(known, seed, index, n, temperature, class_temperature, sampler))

    def _pixels(self, pictures: Pictures) -> Pixels:
        if isinstance(pictures, np.ndarray):
            return registry.checked_pixels(self.card.dims, pictures)
        if isinstance(pictures, str | bytes | Path) or not len(pictures):
            raise Invalid("give a sequence of at least one picture", field="pictures")
        return np.stack([self._one(picture) for picture in pictures])

    def _one(self, picture: Any) -> Pixels:
        dims, preprocessing = self.card.dims, self.card.preprocessing
        if isinstance(picture, str | Path):
            picture = Path(picture).read_bytes()
        if isinstance(picture, bytes):
            return image_io.decode(picture, image_headers.check_picture(picture, self._settings), dims, preprocessing)[0]
        return to_pixels(picture, dims, preprocessing)[0]
