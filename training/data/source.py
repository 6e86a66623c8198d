"""One split of a data set before its pictures are at the model's size.

Knows nothing of where rows come from (image_folder, parquet, npz), how they are split (split) nor what becomes of them (dataset).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class DataError(Exception):
    """A data set cannot be used; the text says what is wrong and what to do."""


def _no_names() -> Sequence[str]:
    return ()


def _no_column(name: str) -> Sequence[Hashable] | None:
    return None


@dataclass(frozen=True)
class Rows:
    """Labelled pictures of one split, in a fixed order."""

    name: str  # of the data set
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]  # [N]
    read: Callable[[int], Image.Image]  # row -> picture; raises Unreadable
    row_name: Callable[[int], str]  # row -> its name in messages
    files: Callable[[NDArray[np.int64]], dict[str, str]]  # row numbers -> SHA-256 by file or collection: same bytes, same hashes
    tolerant: bool = False  # an unreadable picture is skipped and named; otherwise the data set cannot be used
    skipped: tuple[tuple[str, str], ...] = ()  # (file, reason) of what cannot be a picture
    own_validation: int = 0  # the last so many rows are the data set's own validation split
    uncut: bool = False  # there is no test split: it has to be cut from the rows that are no validation rows
    held_back: int = 0  # so many pictures were cut off as the test split
    names: Callable[[], Sequence[str]] = _no_names  # [N] paths within the data set; empty where there are none
    column: Callable[[str], Sequence[Hashable] | None] = _no_column  # [N] cells of another column; None where there is no such column
    columns: tuple[str, ...] = ()  # the names of those columns
    attributes: Mapping[str, NDArray[np.int64]] = field(
        default_factory=dict
    )  # [N] by name: the other whole numbers that a table has of its pictures

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """The rows of the given numbers; `own_validation` is that of the caller to state."""
        return replace(
            self,
            labels=self.labels[rows],
            read=lambda i: self.read(int(rows[i])),
            row_name=lambda i: self.row_name(int(rows[i])),
            files=lambda numbers: self.files(rows[numbers]),
            names=lambda: [names[i] for i in rows.tolist()] if (names := self.names()) else (),
            column=lambda name: None if (cells := self.column(name)) is None else [cells[i] for i in rows.tolist()],
            attributes={name: values[rows] for name, values in self.attributes.items()},
        )


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key by which "10" follows "9", and upper and lower case stand together."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(0, int(part), "") if i % 2 else (1, 0, part) for i, part in enumerate(parts) if part], name
