"""A small data set on disk, in the layout of the Hugging Face hub: pictures drawn by the toy bundle's decoder."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from tests import toy


def write_pictures(folder: Path, train: int, test: int, seed: int = 0) -> Path:
    """Write train-*.parquet and test-*.parquet with so many 8x8 grey pictures of the toy's four classes; return `folder`."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 5)))[0] * (0.08 * 8)  # the toy bundle's own, seed 0
    rng = np.random.default_rng(seed)
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=list(toy.CLASS_NAMES))})
    for split, rows in (("train", train), ("test", test)):
        labels = rng.permutation(np.arange(rows) % 4)
        z_s = toy.MEANS[labels] + 0.3 * rng.normal(size=(rows, 3))
        pixels = toy.draw(toy.DIMS, basis, z_s, rng.normal(size=(rows, 2)))
        cells = [{"bytes": _png(picture), "path": None} for picture in pixels]
        Dataset.from_dict({"image": cells, "label": labels}, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def _png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture[..., 0]).save(stream, "PNG")
    return stream.getvalue()
