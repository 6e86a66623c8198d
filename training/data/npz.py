"""An .npz file as rows: x_train, y_train, x_test, y_test (x_val, y_val too), or images and labels, which have to be split.

Pictures uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3]; labels integers from 0, or names. `class_names` may name the integers.
No pickle is ever read.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twofold.model.contract import file_sha256
from twofold.training.data.source import DataError, Rows, natural

MAX_ARRAY_BYTES = 16 * 2**30  # in memory: the sizes that the archive states are added up before it is unpacked
PAIRS = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test"), "validation": ("x_val", "y_val")}


def open_arrays(path: Path, split: str) -> Rows:
    """The rows of a split, "train" or "test". Raises DataError: wrong names, shapes or types, an empty class."""
    arrays = _load(path)
    raw = arrays["labels"] if "labels" in arrays else arrays.get("y_train")
    if raw is None:
        raise DataError(f"{path.name} must hold x_train, y_train, x_test and y_test, or images and labels")
    names = _names(raw, arrays.get("class_names"))
    if "labels" in arrays:
        pixels, labels = _pair(arrays, "images", "labels", names)
        return _rows(path, names, pixels, labels, uncut=True)
    pixels, labels = _pair(arrays, *PAIRS[split], names)
    own = 0
    if split == "train" and "x_val" in arrays:
        more, also = _pair(arrays, *PAIRS["validation"], names)
        if more.shape[1:] != pixels.shape[1:]:
            raise DataError(f"{path.name}: x_val must have the shape of x_train")
        pixels, labels, own = np.concatenate([pixels, more]), np.concatenate([labels, also]), len(also)
    return _rows(path, names, pixels, labels, own=own)


def _rows(
    path: Path, names: tuple[str, ...], pixels: NDArray[np.uint8], labels: NDArray[np.int64], own: int = 0, uncut: bool = False
) -> Rows:
    return Rows(
        name=path.stem,
        class_names=names,
        labels=labels,
        read=lambda row: Image.fromarray(pixels[row]),
        row_name=lambda row: f"row {row}",
        files=lambda rows: {path.name: file_sha256(path)},
        own_validation=own,
        uncut=uncut,
    )


def _load(path: Path) -> dict[str, NDArray[Any]]:
    wanted = {"images", "labels", "class_names", *(name for pair in PAIRS.values() for name in pair)}
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_ARRAY_BYTES:
                raise DataError(f"{path.name} unpacks to more than {MAX_ARRAY_BYTES >> 30} GiB")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if name in wanted}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path.name} is damaged, or holds something else than plain arrays") from error


def _names(labels: NDArray[Any], given: NDArray[Any] | None) -> tuple[str, ...]:
    if labels.dtype.kind in "US":
        return tuple(sorted({str(name) for name in labels.astype(str).tolist()}, key=natural))
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or not len(labels) or labels.min() < 0 or labels.max() >= 65536:
        raise DataError("labels must be integers from 0, or names, one for each picture")
    names = [str(name) for name in given.tolist()] if given is not None else [str(k) for k in range(int(labels.max()) + 1)]
    if len(names) <= labels.max():
        raise DataError("class_names has fewer names than there are labels")
    return tuple(names)


def _pair(arrays: dict[str, NDArray[Any]], x: str, y: str, names: tuple[str, ...]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures [N, H, W] or [N, H, W, 3], and their class indices."""
    if x not in arrays or y not in arrays:
        raise DataError(f"the .npz file has no {x} and {y}")
    pixels, labels = arrays[x], arrays[y].reshape(-1)
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or len(pixels) != len(labels) or pixels.shape[3:] not in ((), (1,), (3,)):
        raise DataError(f"{x} must be uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3], with one label in {y} for each picture")
    if labels.dtype.kind in "US":
        index = {name: k for k, name in enumerate(names)}
        unknown = set(labels.astype(str).tolist()) - set(index)
        if unknown:
            raise DataError(f"{y} has a class that the training pictures do not have")
        labels = np.array([index[name] for name in labels.astype(str).tolist()], np.int64)
    elif labels.dtype.kind not in "iu" or (len(labels) and not 0 <= labels.min() <= labels.max() < len(names)):
        raise DataError(f"{y} must hold integers from 0 to {len(names) - 1}")
    return pixels[..., 0] if pixels.shape[3:] == (1,) else pixels, labels.astype(np.int64)
