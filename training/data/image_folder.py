"""A folder of pictures, one sub-folder per class, as rows.

    letters/A/*.png, letters/B/*.png, ...           to be split: a tenth is the test split, see split.cut_test
    letters/train/A/*.png, letters/test/A/*.png     its own splits; val/ beside them, if there is one, is its validation split

Names are sorted as people count (2 before 10). What systems leave behind is ignored, other files that cannot be pictures are listed with
the reason; a file's content decides, not its ending. Knows nothing of sizes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twofold.files import is_junk
from twofold.training.data.decoding import FORMATS_TEXT, MAX_FILE_BYTES, Unreadable, decode, is_picture
from twofold.training.data.source import DataError, Rows, natural

SPLITS = {"train": ("train", "training"), "test": ("test", "testing"), "validation": ("val", "valid", "validation")}
NAMED = 10  # empty classes that a message names

Listing = tuple[list[tuple[Path, int]], list[tuple[str, str]]]  # (file, label), (what was skipped, reason)


def is_folder_of_pictures(path: Path) -> bool:
    """Whether a folder has sub-folders that could be classes."""
    return path.is_dir() and bool(_subfolders(path))


def open_folder(path: Path, split: str) -> Rows:
    """The rows of a split, "train" or "test". Raises DataError: an empty class, one class, no such split."""
    parts = {kind: _named(path, names) for kind, names in SPLITS.items()}
    root = parts["train"] or path
    names = tuple(folder.name for folder in _subfolders(root))
    _check_names(names)
    if split == "test" and parts["train"] and parts["test"]:
        found, skipped = _list(parts["test"], names)
        return _rows(path, names, found, skipped, split)
    found, skipped = _list(root, names)
    _check_counts(names, found)
    uncut, own = not (parts["train"] and parts["test"]), 0
    if split == "train" and parts["train"] and parts["validation"]:
        more, also = _list(parts["validation"], names)
        found, skipped, own = found + more, skipped + also, len(more)
    return _rows(path, names, found, skipped if split == "train" else [], split, uncut, own)


def _rows(
    path: Path,
    names: tuple[str, ...],
    found: list[tuple[Path, int]],
    skipped: list[tuple[str, str]],
    split: str,
    uncut: bool = False,
    own: int = 0,
) -> Rows:
    files = [file for file, _ in found]
    name = path.resolve().name
    return Rows(
        name=name,
        class_names=names,
        labels=_labels(found),
        read=lambda i: _read(files[i]),
        row_name=lambda i: _within(path, files[i]),
        files=lambda rows: {f"{name}/{split}": _digest(path, [files[i] for i in rows.tolist()])},
        tolerant=True,
        skipped=tuple(skipped),
        own_validation=own,
        uncut=uncut,
        names=lambda: [_within(path, file) for file in files],
    )


def _within(path: Path, file: Path) -> str:
    return file.relative_to(path).as_posix()


def _subfolders(path: Path) -> list[Path]:
    found = [p for p in path.iterdir() if p.is_dir() and not is_junk(p.name)]
    return sorted(found, key=lambda p: natural(p.name))


def _named(path: Path, names: Sequence[str]) -> Path | None:
    """The sub-folder of one of these names that itself holds sub-folders (else it is a class of that name)."""
    return next((p for p in _subfolders(path) if p.name.casefold() in names and _subfolders(p)), None)


def _list(root: Path, names: tuple[str, ...]) -> Listing:
    """The files of all classes in natural order, and what was skipped."""
    found, skipped = [], []
    for folder in _subfolders(root):
        if folder.name not in names:
            raise DataError(f"{root.name}/ has a class {folder.name!r} that the training pictures do not have")
        for file in sorted(folder.iterdir(), key=lambda p: natural(p.name)):
            if is_junk(file.name):
                continue
            reason = _why_not(file)
            if reason:
                skipped.append((f"{root.name}/{folder.name}/{file.name}", reason))
            else:
                found.append((file, names.index(folder.name)))
    loose = [p for p in root.iterdir() if not is_junk(p.name) and p.is_file() and is_picture(_start(p))]
    skipped += [(f"{root.name}/{p.name}", "not in the folder of a class") for p in sorted(loose)]
    return found, skipped


def _why_not(file: Path) -> str:
    """Why a file cannot be a picture; empty if it can."""
    if file.is_dir():
        return "a folder within a class"
    if not file.is_file():
        return "not a regular file"
    try:
        if not is_picture(_start(file)):
            return "empty" if file.stat().st_size == 0 else f"not {FORMATS_TEXT}"
        return "" if file.stat().st_size <= MAX_FILE_BYTES else f"more than {MAX_FILE_BYTES >> 20} MiB"
    except OSError:
        return "cannot be read"


def _start(file: Path) -> bytes:
    """The first bytes of a file, by which its format is known. Raises OSError."""
    with file.open("rb") as opened:
        return opened.read(16)


def _labels(found: list[tuple[Path, int]]) -> NDArray[np.int64]:
    return np.array([label for _, label in found], np.int64)


def _check_names(names: tuple[str, ...]) -> None:
    if len(names) < 2:
        raise DataError(f"{len(names)} class: the data folder needs one sub-folder of pictures for each of at least two classes")
    for name in names:
        if not name.isprintable() or len(name) > 200:
            raise DataError(f"the class folder {name[:40]!r} needs a printable name of at most 200 characters")


def _check_counts(names: tuple[str, ...], found: list[tuple[Path, int]]) -> None:
    counts = np.bincount(_labels(found), minlength=len(names))
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    if empty:
        folders = ", ".join(map(repr, empty[:NAMED])) + (f" and {len(empty) - NAMED} more" if len(empty) > NAMED else "")
        one = "class folder" if len(empty) == 1 else f"{len(empty)} class folders"
        raise DataError(f"no picture ({FORMATS_TEXT}) in the {one} {folders}: fill or remove")


def _read(file: Path) -> Image.Image:
    try:
        data = file.read_bytes()
    except OSError:
        raise Unreadable("cannot be read") from None
    return decode(data)


def _digest(path: Path, files: list[Path]) -> str:
    """SHA-256 over names and contents; a file that cannot be read counts as empty (it is skipped)."""
    whole = hashlib.sha256()
    for file in files:
        try:
            content = file.read_bytes()
        except OSError:
            content = b""
        whole.update(f"{file.relative_to(path).as_posix()}\n{hashlib.sha256(content).hexdigest()}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()
