"""Data set -> pictures. Pixels uint8 NHWC and labels int64 in memory; the training step scales them to [0, 1] NCHW.

Reads every kind of source (image_folder, parquet and npz know how each is stored); knows nothing of models. The test split is read only
where it is asked for by name; training asks for "train" and cuts its validation rows from it. Which rows are held back is decided in split,
what must stay together in groups.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from twofold.model.contract import Dims, Pixels, Preprocessing
from twofold.training.config.schema import DataConfig
from twofold.training.data import split as splits
from twofold.training.data.decoding import FORMATS_TEXT, Unreadable, pixels_of, thumbnail
from twofold.training.data.groups import group_rows
from twofold.training.data.image_folder import is_folder_of_pictures, open_folder
from twofold.training.data.npz import open_arrays
from twofold.training.data.parquet import has_parquet, open_hub, open_parquet
from twofold.training.data.source import DataError as DataError
from twofold.training.data.source import Rows
from twofold.training.data.split import VALIDATION_SEED, cut_validation

SMALLEST, LARGEST = 28, 128  # pixels a side
SIDES = (28, 32, 40, 48, 56, 64, 80, 96, 112, 128)  # 4 to 7 times a power of two: what the model can halve
FEWEST_PICTURES = 4  # of a class that training needs: one of them for validation
SAMPLE = 200  # pictures, evenly spread, that decide the size where the configuration does not
GREY = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class Seen:
    """What the files of a split looked like before they became pixels."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # (width, height)
    modes: Counter[str] = field(default_factory=Counter)  # Pillow's names
    skipped: tuple[tuple[str, str], ...] = ()  # (file, reason)


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures of one split."""

    pixels: Pixels  # [N, H, W, C]
    labels: NDArray[np.int64]  # [N]
    class_names: tuple[str, ...]
    source: dict[str, Any]  # name, split, rows and the SHA-256 of the files read
    seen: Seen = field(default_factory=Seen)
    own_validation: int = 0  # the last so many rows are the data set's own validation split
    attributes: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)  # [N] by name; for measurements only
    groups: NDArray[np.int64] | None = None  # [N] what a split keeps together; None: every picture may go anywhere
    names: tuple[str, ...] = ()  # [N] paths of the files; empty where there are none

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Pictures:
        """The pictures of the given rows, in their order."""
        attributes = {name: values[rows] for name, values in self.attributes.items()}
        groups = None if self.groups is None else self.groups[rows]
        names = tuple(self.names[i] for i in rows.tolist()) if self.names else ()
        return replace(
            self,
            pixels=self.pixels[rows],
            labels=self.labels[rows],
            own_validation=0,
            attributes=attributes,
            groups=groups,
            names=names,
        )

    @property
    def class_weights(self) -> NDArray[np.float32]:
        """Class frequencies [K], sum 1."""
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        return (counts / counts.sum()).astype(np.float32)

    @property
    def most_validation_rows(self) -> int:
        """A tenth of the pictures, counting those that were cut off as the test split: 80/10/10 where there was no split.

        At least one for each class.
        """
        return max(len(self.class_names), (len(self) + int(self.source.get("held_back", 0))) // 10)


def load(
    path: Path, split: str = "train", dims: Dims | None = None, preprocessing: Preprocessing | None = None, group: str = ""
) -> Pictures:
    """Read one split, "train" or "test", of a data set.

    `path` is a folder of pictures with a sub-folder for each class, a folder of Parquet files in the Hugging Face layout, an
    .npz file, or the id of a data set on the hub (`owner/name`). Every picture goes through `twofold.model.preprocessing.to_pixels`, as
    in the service; without `dims` the size and mode that most pictures have, or the nearest that the model takes; without
    `preprocessing` a white background. In a folder of pictures the unreadable ones are skipped and named in `seen`; elsewhere
    a single one makes the data set unusable. `group` says what a split keeps together, as `groups.group_rows` takes it. Raises
    DataError.
    """
    rows, groups, facts = _cut(_open(path, split), split, group)
    dims = dims or _dims(rows)
    preprocessing = preprocessing or Preprocessing(background=(255,) * dims.channels)
    pixels, kept, seen = _read(rows, dims, preprocessing)
    if not len(kept):
        raise DataError(f"no readable picture in the {split} split: give {FORMATS_TEXT} pictures")
    source: dict[str, Any] = {"name": rows.name, "split": split, "rows": len(kept), "files": rows.files(np.arange(len(rows)))}
    if rows.held_back:
        source["held_back"] = rows.held_back
    if seen.skipped:
        source["skipped"] = len(seen.skipped)
    if facts:
        source["group"] = facts
    own = int((kept >= len(rows) - rows.own_validation).sum())
    attributes = {name: values[kept] for name, values in rows.attributes.items()}
    names = rows.names() if rows.tolerant else ()
    return Pictures(
        pixels,
        rows.labels[kept],
        rows.class_names,
        source,
        seen,
        own,
        attributes,
        groups=None if groups is None else groups[kept],
        names=tuple(names[i] for i in kept.tolist()) if names else (),
    )


def _cut(rows: Rows, split: str, group: str) -> tuple[Rows, NDArray[np.int64] | None, dict[str, Any]]:
    """The rows of a split where they have to be cut, their groups if any are asked for, and what a run says of these."""
    found = group_rows(rows, group, lambda: _thumbnails(rows)) if group else None
    groups, facts = (found.numbers, found.facts(group)) if found else (None, {})
    if not rows.uncut:
        return rows, groups, facts
    free = len(rows) - rows.own_validation
    kept, test = splits.cut_test(rows.labels[:free], rows.class_names, None if groups is None else groups[:free])
    numbers = np.concatenate([kept, np.arange(free, len(rows))]) if split == "train" else test
    rows = replace(rows.take(numbers), held_back=len(test) if split == "train" else 0)
    return rows, None if groups is None else groups[numbers], facts


def _thumbnails(rows: Rows) -> Pixels:
    """uint8 [N, 16, 16], all 0 for a picture that cannot be read."""
    found = np.zeros((len(rows), 16, 16), np.uint8)
    for i in tqdm(range(len(rows)), desc=f"{rows.name}: groups", unit=" pictures", disable=None, delay=2, leave=False):
        try:
            found[i] = thumbnail(rows.read(i))
        except Unreadable as error:
            _reason(rows, i, error)
    return found


def _read(rows: Rows, dims: Dims, preprocessing: Preprocessing) -> tuple[Pixels, NDArray[np.int64], Seen]:
    """The pixels of the readable pictures, the numbers of their rows, and what their files looked like."""
    pixels = np.empty((len(rows), dims.height, dims.width, dims.channels), np.uint8)
    seen, skipped, kept = Seen(), list(rows.skipped), list[int]()
    for i in tqdm(range(len(rows)), desc=rows.name, unit=" pictures", disable=None, delay=2, leave=False):
        try:
            image = rows.read(i)
            pixels[len(kept)] = pixels_of(image, dims, preprocessing)
        except Unreadable as error:
            skipped.append((rows.row_name(i), _reason(rows, i, error)))
            continue
        seen.sizes[image.size] += 1
        seen.modes[image.mode] += 1
        kept.append(i)
    return pixels[: len(kept)], np.array(kept, np.int64), replace(seen, skipped=tuple(skipped))


def load_for(config: DataConfig, path: Path) -> tuple[Pictures, Pictures]:
    """(train, validation) of the training split, at the size and with the preprocessing that a configuration asks for.

    Raises DataError, also for a single class or a class without a readable picture.
    """
    dims, preprocessing = shape_for(config, path)
    pictures = load(path, "train", dims, preprocessing, config.group)
    if len(pictures.class_names) < 2:
        raise DataError("there is one class: a class/style model needs pictures of at least two")
    _check_counts(pictures)
    return split_validation(pictures, min(config.validation_rows, pictures.most_validation_rows))


def _check_counts(pictures: Pictures) -> None:
    """Refuse what would fail later: a class of which too few pictures are left for training."""
    counts = np.bincount(pictures.labels, minlength=len(pictures.class_names))
    name, fewest = pictures.class_names[int(counts.argmin())], int(counts.min())
    if not fewest:
        raise DataError(f"the class {name!r} has no readable picture: fill it or remove it")
    if fewest < FEWEST_PICTURES:
        beside = " beside those of the test split" if pictures.source.get("held_back") else ""
        raise DataError(f"the class {name!r} has {fewest} readable pictures{beside}: give every class {FEWEST_PICTURES} or more, better 50")


def group_of(facts: Mapping[str, Any]) -> str:
    """What a run's or a card's facts of its data say that a split keeps together, as `load` takes it; empty for nothing."""
    return str(facts.get("group", {}).get("option", ""))


def shape_for(config: DataConfig, path: Path) -> tuple[Dims, Preprocessing]:
    """Size and preprocessing that a configuration asks for; what it leaves open is read from the pictures. Raises DataError."""
    first = _dims(_cut(_open(path, "train"), "train", "")[0])
    dims = replace(
        first, height=config.height or first.height, width=config.width or first.width, channels=config.channels or first.channels
    )
    return dims, preprocessing_of(config, dims.channels)


def preprocessing_of(config: DataConfig, channels: int) -> Preprocessing:
    """The preprocessing of a configuration, its background level repeated for every channel if it gives one."""
    background = config.background * channels if len(config.background) == 1 else config.background
    return Preprocessing(background, config.filter, config.crop)


def nearest_size(width: int, height: int) -> tuple[int, int]:
    """The (width, height) nearest to a picture's that the model takes: itself, a square, or a rectangle of about its aspect."""
    short, long = sorted((width, height))
    if long <= LARGEST and _halves(short, long):
        return width, height
    scale = min(1.0, LARGEST / long)
    side = min(SIDES, key=lambda s: (abs(s - short * scale), s))
    if long / short < 1.25:
        return side, side
    unit = next(side // s for s in (4, 5, 6, 7) if side % s == 0 and (side // s) & (side // s - 1) == 0)
    other = min(LARGEST // unit, max(side // unit, round(side * long / short / unit))) * unit
    return (side, other) if width <= height else (other, side)


def _halves(short: int, long: int) -> bool:
    times = max(0, short.bit_length() - 3)  # until 4..7 pixels are left
    return short >= 4 and short % 2**times == 0 and long % 2**times == 0


def _open(path: Path, split: str) -> Rows:
    name = path.as_posix()
    if path.is_file():
        if path.suffix != ".npz":
            raise DataError("a data file must be .npz; Parquet files are given by their folder")
        return open_arrays(path, split)
    if path.is_dir():
        return open_folder(path, split) if not has_parquet(path) and is_folder_of_pictures(path) else open_parquet(path, split)
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name, re.ASCII):
        return open_hub(name, split)
    raise DataError(f"{path.name}: no such folder or file, and no id of a data set on the hub (owner/name)")


def _dims(rows: Rows) -> Dims:
    """The median size of some pictures, or the nearest that the model takes; grey if all of them are."""
    sizes, modes = [], set()
    for i in np.unique(np.linspace(0, max(0, len(rows) - 1), SAMPLE).astype(int)) if len(rows) else ():
        try:
            image = rows.read(int(i))
        except Unreadable as error:
            _reason(rows, int(i), error)
            continue
        sizes.append(image.size)
        modes.add(image.mode)
    if not sizes:
        raise DataError(f"no readable picture: give {FORMATS_TEXT} pictures")
    width, height = nearest_size(*(int(side) for side in np.median(sizes, axis=0)))
    return Dims(1, 1, max(1, len(rows.class_names)), height, width, 1 if modes <= set(GREY) else 3)


def _reason(rows: Rows, row: int, error: Unreadable) -> str:
    """Why a picture cannot be read; raises DataError where every picture must be."""
    if not rows.tolerant:
        raise DataError(f"the picture in {rows.row_name(row)} cannot be decoded: {error}") from error
    return str(error)


def split_validation(pictures: Pictures, rows: int = 5000, seed: int = VALIDATION_SEED) -> tuple[Pictures, Pictures]:
    """Cut stratified validation rows off the training split: (train, validation), the same rows for the same seed.

    The data set's own validation split is taken as it is, whatever `rows` says. Else every class gives in proportion to its
    size (largest remainders), by whole groups where there are groups; raises DataError if a class would be left empty.
    """
    if pictures.own_validation:
        cut = len(pictures) - pictures.own_validation
        return pictures.take(np.arange(cut)), pictures.take(np.arange(cut, len(pictures)))
    most = pictures.most_validation_rows
    kept, held = cut_validation(pictures.labels, pictures.class_names, rows, seed, pictures.groups, most)
    return pictures.take(kept), pictures.take(held)


def shuffled_rows(labels: NDArray[np.int64], batch: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Endless shuffled row batches [B], reshuffled each epoch; the last short batch of an epoch is dropped."""
    while True:
        order = rng.permutation(len(labels))
        for start in range(0, len(order) - batch + 1, batch):
            yield order[start : start + batch]
