"""Parquet files, on disk or by their id on the hub, as rows. The only module that imports `datasets`.

    train-00000-of-00001.parquet, train.parquet          in the folder itself or in data/
    default/train/0000.parquet, train/0000.parquet       as the hub converts data sets

Splits are called train or training, test or testing, and validation, valid, val or dev. Pictures are in the column of type `Image`, or in
one that holds their bytes as that type does; labels in the column `label`, or else the first of type `ClassLabel`: class names, whole
numbers, names or truth values. A row without a label (an empty cell, or -1) or without a picture is skipped. Other columns of whole
numbers without empty cells are attributes; any other may say what belongs together.
Knows nothing of sizes. Whether the network is used is decided by the library's own settings (HF_HUB_OFFLINE=1: it is not).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twofold.model.contract import file_sha256
from twofold.training.data.decoding import Unreadable, decode
from twofold.training.data.source import DataError, Rows, natural

SPLITS = {"train": ("train", "training"), "test": ("test", "testing"), "validation": ("validation", "valid", "val", "dev")}
LAYERS = ("*.parquet", "data/*.parquet", "*/*.parquet", "*/*/*.parquet")  # below the data folder, in the order in which they are looked at
IMAGE_NAMES = ("image", "img")
NOT_LABELLED = -1  # the hub's word for a row without a label
MAX_CLASSES = 65_536

Place = Callable[[int], str]  # row -> where it is, in words


@dataclass(frozen=True)
class _Part:
    """One split of a table: its rows and where they are."""

    table: Any
    place: Place
    files: Mapping[str, Path]  # by their names; empty for the hub


def has_parquet(path: Path) -> bool:
    """Whether a folder is laid out as Parquet files."""
    return any(True for layer in LAYERS for _ in path.glob(layer))


def open_parquet(path: Path, split: str) -> Rows:
    """The rows of a split, "train" or "test", of a folder. Raises DataError when there is no such split or column."""
    parts = {kind: _part(files, path) for kind, files in _files(path).items() if kind in ("train", split, "validation")}
    if split not in parts:
        raise DataError(
            f"no {split}-*.parquet in the data folder, and no sub-folder of pictures for each class: give a folder of Parquet files in the"
            " Hugging Face layout, a folder of pictures, an .npz file, or the id of a data set on the hub"
        )

    def digests(rows: NDArray[np.int64]) -> dict[str, str]:
        read = [parts[split]] + ([parts["validation"]] if split == "train" and "validation" in parts else [])
        return {name: file_sha256(file) for part in read for name, file in part.files.items()}

    return _rows(path.resolve().name, parts, split, digests)


def open_hub(repository: str, split: str) -> Rows:
    """A split of `owner/name` on the hub, through the library's cache. Raises DataError when it cannot be had."""
    import datasets

    datasets.disable_progress_bars()
    try:
        tables = datasets.load_dataset(repository)
    except Exception as error:  # the library, its client and its file system each raise their own errors
        raise DataError(_why(repository, split, error)) from error
    parts = {kind: _hub_part(repository, name, tables[name]) for name in tables if (kind := _kind(name))}
    if split not in parts:
        raise DataError(f"{repository} has no split {split!r}: it has {', '.join(map(str, tables))}")

    def digests(rows: NDArray[np.int64]) -> dict[str, str]:
        return {f"{repository}/{split}": _digest(parts[split].table)}

    return _rows(repository, parts, split, digests)


# ------------------------------------------------------------------------------------------------------------------ files


def _files(path: Path) -> dict[str, list[Path]]:
    """The files of each split, of the first layout that the folder has. Raises DataError when there are several of that."""
    for layer in LAYERS:
        found: dict[str, list[Path]] = {}
        for file in sorted(path.glob(layer)):
            kind = _kind(file.stem) or _kind(file.parent.name)
            if kind:
                found.setdefault(kind, []).append(file)
        if found:
            _check_one_configuration(path, found)
            return found
    return {}


def _kind(name: str) -> str | None:
    """The split that a name says by its first word."""
    word = (re.match(r"[a-z]*", name.casefold()) or [""])[0]
    return next((kind for kind, names in SPLITS.items() if word in names), None)


def _check_one_configuration(path: Path, found: Mapping[str, Sequence[Path]]) -> None:
    homes = {file.parent if _kind(file.stem) else file.parent.parent for files in found.values() for file in files}
    if len(homes) > 1:
        names = ", ".join(sorted(home.relative_to(path).as_posix() for home in homes))
        raise DataError(f"{path.name} holds several data sets ({names}): give the folder of one")


def _part(files: Sequence[Path], root: Path) -> _Part:
    import datasets
    from pyarrow import parquet

    datasets.disable_progress_bars()
    try:
        ends = np.cumsum([parquet.ParquetFile(file).metadata.num_rows for file in files])
        table = datasets.load_dataset("parquet", data_files={"rows": [str(file) for file in files]}, split="rows")
    except Exception as error:  # the libraries each raise their own errors on a damaged file, or on files that differ
        read = ", ".join(file.name for file in files)
        raise DataError(f"{read}: damaged, or not all of the same columns ({type(error).__name__})") from error

    def place(row: int) -> str:
        at = int(np.searchsorted(ends, row, side="right"))
        return f"row {row - (int(ends[at - 1]) if at else 0)} of {files[at].name}"

    names = [file.name for file in files]
    unique = len(set(names)) == len(names)
    return _Part(table, place, {file.name if unique else file.relative_to(root).as_posix(): file for file in files})


def _hub_part(repository: str, name: str, table: Any) -> _Part:
    return _Part(table, lambda row: f"row {row} of {repository}/{name}", {})


def _why(repository: str, split: str, error: Exception) -> str:
    """A sentence for the user: the library's own errors say little (offline and unreachable are both a ConnectionError)."""
    import datasets

    if isinstance(error, datasets.exceptions.DatasetNotFoundError):
        return f"no path and no data set on the hub is called {repository}"
    if isinstance(error, OSError) and datasets.config.HF_HUB_OFFLINE:
        return f"{repository} is not in the cache and offline mode is on: unset HF_HUB_OFFLINE, or give a folder"
    if isinstance(error, OSError):
        return f"there is no folder {repository}, and the hub cannot be reached for a data set of that name: check the path, or the network"
    return f"{repository} cannot be loaded from the hub ({type(error).__name__}): does it have a split {split!r} of pictures?"


# ---------------------------------------------------------------------------------------------------------------- columns


def _rows(name: str, parts: Mapping[str, _Part], split: str, files: Callable[[NDArray[np.int64]], dict[str, str]]) -> Rows:
    """The labelled rows of a split; those of training are followed by the data set's own validation rows."""
    first = parts["train"] if "train" in parts else parts[split]
    image, label = _image_column(first.table), _label_column(first.table)
    classes = _Classes.of(first, label)
    read = [parts[split]] + ([parts["validation"]] if split == "train" and "validation" in parts else [])
    tables = [_Labelled.of(part, image, label, classes) for part in read]
    own = len(tables[1].rows) if len(tables) > 1 else 0
    if not len(tables[0].rows):
        raise DataError(f"no row of the {split} split has a label and a picture: the column {label!r} is empty, or -1")
    starts = np.cumsum([0] + [len(table.rows) for table in tables])

    def found(row: int) -> tuple[_Labelled, int]:
        at = int(np.searchsorted(starts, row, side="right")) - 1
        return tables[at], int(tables[at].rows[row - starts[at]])

    def read_row(row: int) -> Image.Image:
        table, number = found(row)
        return table.read(number)

    def row_name(row: int) -> str:
        table, number = found(row)
        return table.part.place(number)

    others = [key for key in first.table.column_names if key not in (image, label)]
    shared = [key for key in others if all(key in table.part.table.column_names for table in tables)]
    whole = {key: [numbers for table in tables if (numbers := table.numbers(key)) is not None] for key in shared}
    return Rows(
        name=name,
        class_names=classes.names,
        labels=np.concatenate([table.labels for table in tables]),
        read=read_row,
        row_name=row_name,
        files=files,
        skipped=tuple(skipped for table in tables for skipped in table.skipped),
        own_validation=own,
        names=lambda: _joined([table.names() for table in tables]),
        column=lambda key: [cell for table in tables for cell in table.cells(key)] if key in shared else None,
        columns=tuple(shared),
        attributes={key: np.concatenate(values) for key, values in whole.items() if len(values) == len(tables)},
    )


def _joined(names: Sequence[Sequence[str]]) -> Sequence[str]:
    return [name for part in names for name in part] if all(names) else ()


def _image_column(table: Any) -> str:
    import datasets

    found = [key for key, feature in table.features.items() if isinstance(feature, datasets.Image)]
    found += [key for key, feature in table.features.items() if isinstance(feature, Mapping) and set(feature) == {"bytes", "path"}]
    found += [key for key in IMAGE_NAMES if getattr(table.features.get(key), "dtype", None) in ("binary", "large_binary")]
    if not found:
        raise DataError(f"the data set needs a column of type Image and one of labels; it has {', '.join(table.column_names)}")
    return str(found[0])


def _label_column(table: Any) -> str:
    import datasets

    found = [key for key, feature in table.features.items() if isinstance(feature, datasets.ClassLabel)]
    if "label" in table.column_names:
        return "label"
    if not found:
        raise DataError(
            f"the data set needs a column of labels, called label or of type ClassLabel; it has {', '.join(table.column_names)}"
        )
    return str(found[0])


@dataclass(frozen=True)
class _Classes:
    """The classes of a label column, and how a cell names one."""

    names: tuple[str, ...]
    index: Mapping[Hashable, int]  # by cell

    @classmethod
    def of(cls, part: _Part, label: str) -> _Classes:
        """The column's own class names, or the different cells of the training split in order. Raises DataError."""
        import datasets

        feature = part.table.features[label]
        if isinstance(feature, datasets.ClassLabel):
            names = tuple(feature.names)
            return cls(names, {k: k for k in range(len(names))})
        if not isinstance(feature, datasets.Value):
            raise DataError(f"the column {label!r} must hold one label for each picture: a name, a whole number or a truth value")
        cells = {_cell(value, part, label, row) for row, value in enumerate(part.table[label])} - {None}
        ordered = sorted(cells, key=natural) if feature.dtype in ("string", "large_string") else sorted(cells)
        if len(ordered) > MAX_CLASSES:
            raise DataError(f"the column {label!r} has {len(ordered)} different labels: is it the column of the classes?")
        return cls(tuple(str(cell) for cell in ordered), {cell: k for k, cell in enumerate(ordered)})

    def label(self, value: Any, part: _Part, column: str, row: int) -> int | None:
        """The class of a cell, None where it has none. Raises DataError, which names the row."""
        cell = _cell(value, part, column, row)
        if cell is None:
            return None
        if cell not in self.index:
            raise DataError(f"{part.place(row)}: the label {str(cell)[:60]} is none of the {len(self.names)} classes of the training split")
        return self.index[cell]


def _cell(value: Any, part: _Part, column: str, row: int) -> Any:
    """A label as it is compared: None for an empty cell and for -1, whole numbers also where they are stored as fractions."""
    if value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, float):
        if value != int(value):
            raise DataError(f"{part.place(row)}: the column {column!r} holds {value:g}, which is no label")
        value = int(value)
    if isinstance(value, bool | str):
        return value
    if not isinstance(value, int):
        raise DataError(f"the column {column!r} must hold one label for each picture: a name, a whole number or a truth value")
    return None if value == NOT_LABELLED else value


@dataclass(frozen=True)
class _Labelled:
    """The rows of a part that have a picture and a label."""

    part: _Part
    image: str
    rows: NDArray[np.int64]  # [N] numbers in the part
    labels: NDArray[np.int64]  # [N]
    skipped: tuple[tuple[str, str], ...]
    cells_of_pictures: Any

    @classmethod
    def of(cls, part: _Part, image: str, label: str, classes: _Classes) -> _Labelled:
        """Raises DataError for a part without these columns, and for a label that is none of the classes."""
        import datasets

        missing = {image, label} - set(part.table.column_names)
        if missing:
            raise DataError(f"the test and validation splits need the column {min(missing)!r} of the training split")
        pictures = part.table.select_columns([image]).cast_column(image, datasets.Image(decode=False))
        empty = np.array(pictures.data.column(image).is_null())
        rows, labels, skipped = list[int](), list[int](), list[tuple[str, str]]()
        for row, value in enumerate(part.table[label]):
            found = classes.label(value, part, label, row)
            if found is None or empty[row]:
                skipped.append((part.place(row), "not labelled" if found is None else "no picture in the table"))
            else:
                rows.append(row)
                labels.append(found)
        return cls(part, image, np.array(rows, np.int64), np.array(labels, np.int64), tuple(skipped), pictures)

    def read(self, row: int) -> Image.Image:
        """The picture of a row of the part. Raises Unreadable."""
        data = self.cells_of_pictures[row][self.image]["bytes"]
        if data is None:
            raise Unreadable("no bytes in the table")
        return decode(data)

    def names(self) -> Sequence[str]:
        """Paths of the pictures; empty where a cell has none."""
        from pyarrow import compute

        paths = compute.struct_field(self.cells_of_pictures.data.column(self.image), "path").to_pylist()
        found = [paths[row] for row in self.rows.tolist()]
        return found if all(found) else ()

    def cells(self, key: str) -> list[Hashable]:
        """Another column's cells."""
        values = self.part.table[key]
        return [values[row] for row in self.rows.tolist()]

    def numbers(self, key: str) -> NDArray[np.int64] | None:
        """Another column as int64 [N]; None where it holds something else than whole numbers, or an empty cell."""
        import datasets

        feature = self.part.table.features[key]
        whole = isinstance(feature, datasets.Value | datasets.ClassLabel) and feature.dtype in (
            *("int8", "int16", "int32", "int64"),
            *("uint8", "uint16", "uint32"),
        )
        if not whole or self.part.table.data.column(key).null_count:
            return None
        return np.asarray(self.part.table[key], dtype=np.int64)[self.rows]


def _digest(table: Any) -> str:
    """SHA-256 over the stored columns, whatever files they came in."""
    whole = hashlib.sha256()
    for batch in table.with_format("arrow").iter(1000):
        for column in batch.columns:
            whole.update(repr(column.to_pylist()).encode())
    return whole.hexdigest()
