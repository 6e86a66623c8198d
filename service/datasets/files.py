"""Files that are wholly there or not at all, and folders in which one run writes at a time. Knows nothing of pictures or plans."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from twofold.service.datasets.plan import differences
from twofold.service.runtime.errors import Invalid

PLAN = "twofold.json"


@contextmanager
def beside(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is whole; if anything goes wrong before, nothing of it is left (after kill -9 a .part)."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def put(path: Path, data: bytes) -> None:
    with beside(path) as file:
        file.write(data)


@contextmanager
def claimed(folder: Path, plan: str) -> Iterator[None]:
    """`folder`, made if it isn't there, is this plan's and this process's until the end of the block.

    Raises Invalid when it holds something else, the set of another plan, or when another run is writing there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _claim(folder, plan)
        yield


def _claim(folder: Path, plan: str) -> None:
    mark = folder / PLAN
    if mark.exists():
        different = differences(mark.read_text(encoding="utf-8", errors="replace"), plan)
        if different:
            raise Invalid(f"{folder.name} holds another set (it differs in {different}); choose another --out, or remove it", field="out")
    elif any(path.name != f".{PLAN}.part" for path in folder.iterdir()):
        raise Invalid(f"{folder.name} is not empty and holds no set; choose another --out", field="out")
    else:
        put(mark, plan.encode())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The kernel's lock on a folder, which ends with the process however it ends; Windows has none."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Invalid(f"another run is writing into {folder.name}; wait for it, or choose another --out", field="out") from None
    finally:
        os.close(handle)
