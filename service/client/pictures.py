"""Pictures of an answer: one with its recipe, several in order, a matrix of swaps.

Each keeps the `entry` it was made of, which is what the answer's JSON says, so that no member a newer server adds is lost. It does not
know how an answer came.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from twofold import image_grid
from twofold.model.contract import Pixels
from twofold.service.client.results import Class, Entry, Listed, Verdict, from_entry
from twofold.service.runtime import image_io, provenance


class Picture:
    """One picture, as the bytes of its file, which carry its recipe. `np.asarray` gives uint8 [H,W,C], `image` a PIL picture."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    @classmethod
    def of(cls, data: bytes) -> Picture:
        """The picture of a file's bytes."""
        return cls({"image": base64.b64encode(data).decode()})

    @cached_property
    def data(self) -> bytes:
        """The file, PNG or WebP, as the service wrote it."""
        return base64.b64decode(self.entry["image"])

    @property
    def suffix(self) -> str:
        """.png, .webp or, of an animation, .gif: whatever its file is."""
        return ".webp" if self.data[8:12] == b"WEBP" else ".gif" if self.data.startswith(b"GIF8") else ".png"

    @property
    def png(self) -> bytes:
        """The file as PNG: `data`, or where that is WebP the same pixels and recipe written anew."""
        return self.data if self.suffix == ".png" else self._written(image_io.PNG)

    @property
    def image(self) -> image_io.PilPicture:
        return image_io.to_image(self.data)

    @cached_property
    def recipe(self) -> dict[str, Any] | None:
        """What it takes to make this picture again; None where the server does not write recipes."""
        text = image_io.recipe_of(self.data)
        return None if text is None else json.loads(text)

    @property
    def class_(self) -> Class | None:
        """The class that was asked for, where one was."""
        return None if self.entry.get("class") is None else from_entry(Class, self.entry["class"])

    @property
    def seed(self) -> int | None:
        return self.entry.get("seed")

    @property
    def index(self) -> int | None:
        return self.entry.get("index")

    @property
    def code(self) -> str | None:
        """The code token: both codes of this picture, good for every route that takes a picture or a code."""
        return self.entry.get("code")

    @property
    def verdict(self) -> Verdict | None:
        found = self.entry.get("verdict")
        return None if found is None else Verdict(from_entry(Class, found["class"]), found["kept"], found.get("by", Verdict.by))

    def save(self, path: Path | str) -> None:
        """Write it, recipe included. A suffix of the other format writes the same pixels in that. Raises ValueError on a third suffix."""
        path = Path(path)
        suffix = path.suffix.lower()
        media = {".png": image_io.PNG, ".webp": image_io.WEBP}.get(suffix)
        if suffix != self.suffix and (media is None or self.suffix == ".gif"):
            raise ValueError("a picture is saved as .png or .webp, an animation as it is")
        path.write_bytes(self.data if media is None or suffix == self.suffix else self._written(media))

    def _written(self, media: str) -> bytes:
        return image_io.encode(np.asarray(self), media, image_io.recipe_of(self.data))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Pixels:
        pixels: Pixels = image_io.to_array(self.data).astype(np.uint8 if dtype is None else dtype)
        return pixels

    def __bytes__(self) -> bytes:
        return self.data

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        shown = [f"{key}={self.entry[key]!r}" for key in ("class", "seed", "index", "row", "col", "frame") if key in self.entry]
        return f"Picture({', '.join(shown)})"


class Pictures(Listed[Picture]):
    """Pictures in order, and as one sheet of `rows` and `cols`. `np.asarray` gives uint8 [n,H,W,C]."""

    def __init__(self, items: Sequence[Picture], rows: int, cols: int, background: Sequence[int] = (0,), **about: Any) -> None:
        super().__init__(items, **about)
        self.rows, self.cols = rows, cols
        self._background = tuple(background)  # of cells without a picture

    @property
    def seed(self) -> int | None:
        """The one seed of all of them; None where there is none, or several."""
        seeds = {picture.seed for picture in self}
        return seeds.pop() if len(seeds) == 1 else None

    def sheet(self) -> Picture:
        """All of them as one picture, to the byte what the service answers with; a single one is itself."""
        if len(self) == 1:
            return self[0]
        texts = [image_io.recipe_of(picture.data) for picture in self]
        known = [text for text in texts if text is not None]
        written = provenance.write_sheet(known, self.rows, self.cols) if known else None
        media = "image/" + self[0].suffix[1:]
        return Picture.of(image_io.encode(image_grid.sheet(np.asarray(self), self.cols, self._background, rows=self.rows), media, written))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Pixels:
        pixels: Pixels = np.stack([picture.__array__(dtype) for picture in self])
        return pixels

    def _repr_png_(self) -> bytes:
        return self.sheet().png


class Matrix(Pictures):
    """Swaps: the class of row r, the style of column c at `matrix[r, c]`; `matrix[k]` counts in reading order."""

    @overload
    def __getitem__(self, at: int) -> Picture: ...
    @overload
    def __getitem__(self, at: tuple[int, int]) -> Picture: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Picture]: ...
    def __getitem__(self, at: int | slice | tuple[int, int]) -> Picture | Sequence[Picture]:
        if not isinstance(at, tuple):
            return super().__getitem__(at)
        row, col = (range(length)[k] for k, length in zip(at, (self.rows, self.cols), strict=True))
        return super().__getitem__(row * self.cols + col)
