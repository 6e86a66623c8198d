"""Files and folders that are wholly old or wholly new: they are written beside their place and renamed into it. Knows no format."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_JUNK = ("__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information")


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or left behind by a system beside a person's own files."""
    return name.startswith(".") or name.casefold() in _JUNK


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write into that gets the name `path` when the block ends; if the block fails, nothing of it is left.

    It is `part_of(path)` until then, and stays that after kill -9. Raises OSError.
    """
    part = part_of(path)
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def part_of(path: Path) -> Path:
    """Where `path` is written before it is whole: a hidden file beside it."""
    return path.with_name(f".{path.name}.part")


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`, wholly or not at all. Raises OSError."""
    with atomic_file(path) as file:
        file.write(data)


@contextmanager
def atomic_folder(place: Path) -> Iterator[Path]:
    """A hidden folder beside `place` to write into: it takes that place when the block ends, and is gone if the block fails.

    Raises OSError.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        yield new
        replace_folder(new, place)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def replace_folder(new: Path, place: Path) -> None:
    """Rename `new` to `place`; a folder that was there is moved aside first and removed last. Raises OSError."""
    new.chmod(0o755)
    old = None
    if place.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{place.name}-old-", dir=place.resolve().parent))
        place.replace(old / place.name)
    try:
        new.replace(place)
    except BaseException:
        if old:
            (old / place.name).replace(place)
            old.rmdir()
        raise
    if old:
        shutil.rmtree(old)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The kernel's lock on a folder, which ends with the process however that ends; Windows has none.

    Raises BlockingIOError at once when another process holds it.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
