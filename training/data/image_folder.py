"""A folder of pictures, one sub-folder per class, as rows.

    letters/A/*.png, letters/B/*.png, ...           split here: a tenth is the test split, see source.cut_test
    letters/train/A/*.png, letters/test/A/*.png     its own splits; val/ beside them, if there is one, is its validation split

Names are sorted as people count (2 before 10). Hidden files are ignored, other files that cannot be pictures are listed with the reason.
Knows nothing of sizes or of what is inside a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twofold.training.data.source import MAX_FILE_BYTES, DataError, Rows, Unreadable, cut_test, decode, natural

SPLITS = {"train": ("train", "training"), "test": ("test", "testing"), "validation": ("val", "valid", "validation")}
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp")
IGNORED = ("__MACOSX", "@eaDir")

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
    held_back, own = 0, 0
    if not (parts["train"] and parts["test"]):
        kept, test = cut_test(_labels(found), len(names))
        held_back = len(test) if split == "train" else 0
        found = [found[i] for i in (kept if split == "train" else test)]
    if split == "train" and parts["train"] and parts["validation"]:
        more, also = _list(parts["validation"], names)
        found, skipped, own = found + more, skipped + also, len(more)
    return _rows(path, names, found, skipped if split == "train" else [], split, held_back, own)


def _rows(
    path: Path,
    names: tuple[str, ...],
    found: list[tuple[Path, int]],
    skipped: list[tuple[str, str]],
    split: str,
    held: int = 0,
    own: int = 0,
) -> Rows:
    files = [file for file, _ in found]
    name = path.resolve().name
    return Rows(
        name=name,
        class_names=names,
        labels=_labels(found),
        read=lambda i: _read(files[i]),
        row_name=lambda i: files[i].relative_to(path).as_posix(),
        files=lambda: {f"{name}/{split}": _digest(path, files)},
        tolerant=True,
        skipped=tuple(skipped),
        own_validation=own,
        held_back=held,
    )


def _subfolders(path: Path) -> list[Path]:
    found = [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name not in IGNORED]
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
            if file.name.startswith(".") or file.name in IGNORED:
                continue
            reason = _why_not(file)
            if reason:
                skipped.append((f"{root.name}/{folder.name}/{file.name}", reason))
            else:
                found.append((file, names.index(folder.name)))
    loose = [p for p in root.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
    skipped += [(f"{root.name}/{p.name}", "not in the folder of a class") for p in sorted(loose)]
    return found, skipped


def _why_not(file: Path) -> str:
    """Why a file cannot be a picture; empty if it can."""
    if file.is_dir():
        return "a folder within a class"
    if not file.is_file():
        return "not a regular file"
    if file.suffix.lower() not in SUFFIXES:
        return "not named .png, .jpg or .webp"
    return "" if file.stat().st_size <= MAX_FILE_BYTES else f"more than {MAX_FILE_BYTES >> 20} MiB"


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
        raise DataError(f"no picture (.png, .jpg, .webp) in the class folder {empty[0]!r}: fill it or remove it")


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
