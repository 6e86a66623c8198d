"""Folders that are wholly old or wholly new."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def taking_the_place_of(place: Path) -> Iterator[Path]:
    """A hidden folder beside `place` to write into: it takes that place when the block ends, and is gone if the block fails."""
    place.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        yield new
        replace_folder(new, place)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def replace_folder(new: Path, place: Path) -> None:
    """Rename `new` to `place`; a folder that was there is moved aside first and removed last."""
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
