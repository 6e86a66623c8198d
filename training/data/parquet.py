"""Parquet files in the Hugging Face layout, on disk or by their id on the hub, as rows. The only module that imports `datasets`.

The picture column is the one of feature `Image` (`image`, `img`, ...), the label column `label` or else the first `ClassLabel`. Other
columns of whole numbers are attributes; what is neither is ignored.
Knows nothing of sizes. Whether the network is used is decided by the library's own settings (HF_HUB_OFFLINE=1: it is not).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from twofold.model.contract import file_sha256
from twofold.training.data.source import DataError, Rows, Unreadable, decode


def has_parquet(path: Path) -> bool:
    """Whether a folder is laid out as Parquet files, directly or in data/."""
    return any(path.glob("*.parquet")) or any((path / "data").glob("*.parquet"))


def open_parquet(path: Path, split: str) -> Rows:
    """`train-*.parquet`, `test-*.parquet` of a folder. Raises DataError when there is no such split or column."""
    files = sorted(path.glob(f"{split}-*.parquet")) or sorted((path / "data").glob(f"{split}-*.parquet"))
    if not files:
        raise DataError(
            f"no {split}-*.parquet in the data folder, and no sub-folder of pictures for each class: give a folder of Parquet files in the"
            " Hugging Face layout, a folder of pictures, an .npz file, or the id of a data set on the hub"
        )
    import datasets

    datasets.disable_progress_bars()
    table = datasets.load_dataset("parquet", data_files={split: [str(f) for f in files]}, split=split)
    return _rows(path.resolve().name, table, lambda: {f.name: file_sha256(f) for f in files})


def open_hub(repository: str, split: str) -> Rows:
    """A split of `owner/name` on the hub, through the library's cache. Raises DataError when it cannot be had."""
    import datasets

    datasets.disable_progress_bars()
    try:
        table = datasets.load_dataset(repository, split=split)
    except Exception as error:  # the library, its client and its file system each raise their own errors
        raise DataError(_why(repository, split, error)) from error
    return _rows(repository, table, lambda: {f"{repository}/{split}": _digest(table)})


def _why(repository: str, split: str, error: Exception) -> str:
    """A sentence for the user: the library's own errors say little (offline and unreachable are both a ConnectionError)."""
    import datasets

    if isinstance(error, datasets.exceptions.DatasetNotFoundError):
        return f"no path and no data set on the hub is called {repository}"
    if isinstance(error, OSError) and datasets.config.HF_HUB_OFFLINE:
        return f"{repository} is not in the cache and offline mode is on: unset HF_HUB_OFFLINE, or give a folder"
    if isinstance(error, OSError):
        return f"the hub cannot be reached for {repository}: check the network, or give a folder of pictures or Parquet files"
    return f"{repository} cannot be loaded from the hub ({type(error).__name__}): does it have a split {split!r} of pictures?"


def _rows(name: str, table: Any, files: Callable[[], dict[str, str]]) -> Rows:
    import datasets

    images = [key for key, feature in table.features.items() if isinstance(feature, datasets.Image)]
    labels = [key for key, feature in table.features.items() if isinstance(feature, datasets.ClassLabel)]
    if not images or not labels:
        raise DataError("the data set needs a column of type Image and one of type ClassLabel")
    image, label = images[0], "label" if "label" in labels else labels[0]
    names = tuple(table.features[label].names)
    others = [key for key, feature in table.features.items() if key != label and _is_whole(feature)]
    attributes = {key: np.asarray(table[key], dtype=np.int64) for key in others}
    table = table.select_columns([image, label]).cast_column(image, datasets.Image(decode=False))

    def read(row: int) -> Image.Image:
        data = table[row][image]["bytes"]
        if data is None:
            raise Unreadable("no bytes in the table")
        return decode(data)

    return Rows(name, names, np.asarray(table[label], dtype=np.int64), read, lambda row: f"row {row}", files, attributes=attributes)


def _is_whole(feature: Any) -> bool:
    """Whether a column holds whole numbers that fit into int64."""
    return getattr(feature, "dtype", None) in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")


def _digest(table: Any) -> str:
    """SHA-256 over the stored columns, whatever files they came in."""
    whole = hashlib.sha256()
    for batch in table.with_format("arrow").iter(1000):
        for column in batch.columns:
            whole.update(repr(column.to_pylist()).encode())
    return whole.hexdigest()
