"""A set as a folder of PNG files, one sub-folder per class, with its plan beside them. Each file is wholly there or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twofold.files import write_atomic
from twofold.service.datasets.claim import claimed
from twofold.service.datasets.plan import Plan, Tally, chunks
from twofold.service.runtime import image_headers
from twofold.service.runtime.errors import UndecodablePicture, UnsupportedMedia

Render = Callable[[range], list[bytes | None]]
Report = Callable[[int], object]  # takes how many pictures of the plan are done with


def write(plan: Plan, about: str, render: Render, out: Path, report: Report) -> Tally:
    """Make what is missing of the set in `out`; `about` describes it. Raises Invalid when `out` holds something else, and OSError."""
    tally = Tally(plan)
    with claimed(out, about):
        for numbers in chunks(plan):
            pictures = [plan[number] for number in numbers]
            whole = [_is_whole(out / picture.file) for picture in pictures]
            made = [None] * len(numbers) if all(whole) else render(numbers)
            for picture, there, data in zip(pictures, whole, made, strict=True):
                if data is not None and not there:
                    (out / picture.file).parent.mkdir(exist_ok=True)
                    write_atomic(out / picture.file, data)
                if data is not None or there:
                    tally.add(picture.label, found=there)
            report(numbers.stop)
    return tally


def _is_whole(file: Path) -> bool:
    """Whether a picture is there, down to its last checksum: after a power failure a file may have its name before its bytes."""
    try:
        image_headers.read_header(file.read_bytes(), max_scans=0)
    except (FileNotFoundError, UndecodablePicture, UnsupportedMedia):
        return False
    return True
