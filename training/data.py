"""Data set -> pictures. Pixels uint8 NHWC and labels int64 in memory; the steps scale them to [0, 1] NCHW.

Knows how labelled pictures lie on disk (Parquet in the Hugging Face layout, read by `datasets`); knows nothing of models.
The test split is read only by whoever asks for it by name; training asks for "train" and cuts its validation rows from it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.contract import Dims, Pixels, Preprocessing, file_sha256
from model.preprocessing import to_pixels
from training.config import DataConfig

VALIDATION_SEED = 20190616


class DataError(Exception):
    """A data set cannot be used; the text says what is wrong and what to do."""


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures of one split."""

    pixels: Pixels  # [N, H, W, C]
    labels: NDArray[np.int64]  # [N]
    class_names: tuple[str, ...]
    source: dict[str, Any]  # name, split, rows and the SHA-256 of the files read

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Pictures:
        """The pictures of the given rows, in their order."""
        return replace(self, pixels=self.pixels[rows], labels=self.labels[rows])

    @property
    def class_weights(self) -> NDArray[np.float32]:
        """Class frequencies [K], sum 1."""
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        return (counts / counts.sum()).astype(np.float32)


def load(path: Path, split: str = "train", dims: Dims | None = None, preprocessing: Preprocessing | None = None) -> Pictures:
    """Read one split of a folder of Parquet files in the Hugging Face layout (`train-*.parquet`, `test-*.parquet`).

    The picture column is the one of feature `Image`, the label column `label` or else the first `ClassLabel`. Every picture
    goes through `model.preprocessing.to_pixels`, as in the service; without `dims` the first picture's size is taken, without
    `preprocessing` a white background. Raises DataError when there is no such split, no such column, or a damaged picture.
    """
    files, rows, image, label = _open(path, split)
    names = tuple(rows.features[label].names)
    dims = dims or _dims_of(rows[0][image], len(names))
    preprocessing = preprocessing or Preprocessing(background=(255,) * dims.channels)
    pixels = np.stack([to_pixels(_decode(row[image]), dims, preprocessing)[0] for row in rows])
    source = {
        "name": path.resolve().name,
        "split": split,
        "rows": len(pixels),
        "files": {f.name: file_sha256(f) for f in files},
    }
    return Pictures(pixels, np.asarray(rows[label], dtype=np.int64), names, source)


def load_for(config: DataConfig, path: Path) -> tuple[Pictures, Pictures]:
    """(train, validation) of the training split, at the size and with the preprocessing that a configuration asks for."""
    _, rows, image, label = _open(path, "train")
    first = _dims_of(rows[0][image], len(rows.features[label].names))
    dims = replace(
        first, height=config.height or first.height, width=config.width or first.width, channels=config.channels or first.channels
    )
    pictures = load(path, "train", dims, preprocessing_of(config, dims.channels))
    return split_validation(pictures, min(config.validation_rows, len(pictures) // 10))


def preprocessing_of(config: DataConfig, channels: int) -> Preprocessing:
    """The preprocessing of a configuration, its background level repeated for every channel if there is but one."""
    background = config.background * channels if len(config.background) == 1 else config.background
    return Preprocessing(background, config.filter, config.crop)


def _open(path: Path, split: str) -> tuple[list[Path], Any, str, str]:
    """Files, rows with undecoded pictures, picture column, label column."""
    files = sorted(path.glob(f"{split}-*.parquet")) or sorted((path / "data").glob(f"{split}-*.parquet"))
    if not files:
        raise DataError(f"no {split}-*.parquet in the data folder: give a folder of Parquet files in the Hugging Face layout")
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.load_dataset("parquet", data_files={split: [str(f) for f in files]}, split=split)
    images = [name for name, feature in rows.features.items() if isinstance(feature, datasets.Image)]
    labels = [name for name, feature in rows.features.items() if isinstance(feature, datasets.ClassLabel)]
    if not images or not labels:
        raise DataError("the data set needs a column of type Image and one of type ClassLabel")
    label = "label" if "label" in labels else labels[0]
    rows = rows.select_columns([images[0], label]).cast_column(images[0], datasets.Image(decode=False))
    return files, rows, images[0], label


def _dims_of(cell: dict[str, Any], classes: int) -> Dims:
    image = _decode(cell)
    return Dims(1, 1, classes, image.height, image.width, 1 if image.mode in ("1", "L") else 3)


def _decode(cell: dict[str, Any]) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(cell["bytes"]))
        image.load()
    except Exception as error:  # Pillow raises many kinds on a damaged file
        raise DataError("a picture of the data set cannot be decoded") from error
    return image


def split_validation(pictures: Pictures, rows: int = 5000, seed: int = VALIDATION_SEED) -> tuple[Pictures, Pictures]:
    """Cut stratified validation rows off the training split: (train, validation), the same rows for the same seed.

    Every class gives in proportion to its size (largest remainders); raises DataError if a class would be left empty.
    """
    counts = np.bincount(pictures.labels, minlength=len(pictures.class_names))
    share = counts * rows / len(pictures)
    take = np.floor(share).astype(int)
    take[np.argsort(take - share, kind="stable")[: rows - take.sum()]] += 1
    if (take >= counts).any():
        raise DataError("too few pictures per class for a validation split: use fewer validation rows")
    order = np.random.default_rng(seed).permutation(len(pictures))
    by_class = [order[pictures.labels[order] == k] for k in range(len(counts))]
    held = np.sort(np.concatenate([rows_k[:n] for rows_k, n in zip(by_class, take, strict=True)]))
    kept = np.setdiff1d(np.arange(len(pictures)), held)
    return pictures.take(kept), pictures.take(held)


def batches(labels: NDArray[np.int64], batch: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Endless shuffled row batches [B], reshuffled each epoch; the last short batch of an epoch is dropped."""
    while True:
        order = rng.permutation(len(labels))
        for start in range(0, len(order) - batch + 1, batch):
            yield order[start : start + batch]
