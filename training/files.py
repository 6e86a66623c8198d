"""Folders that are wholly old or wholly new."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path


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
