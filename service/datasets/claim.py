"""A folder belongs to one plan, and one run writes into it at a time. Knows nothing of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from twofold.files import locked, part_of, write_atomic
from twofold.service.datasets.plan import differences
from twofold.service.runtime.errors import Invalid

PLAN = "twofold.json"


@contextmanager
def claimed(folder: Path, plan: str) -> Iterator[None]:
    """`folder`, made if it isn't there, is this plan's and this process's until the end of the block.

    Raises Invalid when it holds something else, the set of another plan, or when another run is writing there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except BlockingIOError:
            raise Invalid(f"another run is writing into {folder.name}; wait for it, or choose another --out", field="out") from None
        _claim(folder, plan)
        yield


def check_same(out: Path, found: str, plan: str) -> None:
    """Raises Invalid unless the description that was found in `out` is that of this plan."""
    different = differences(found, plan)
    if different:
        raise Invalid(f"{out.name} holds another set (it differs in {different}); choose another --out, or remove it", field="out")


def _claim(folder: Path, plan: str) -> None:
    description = folder / PLAN
    if description.exists():
        check_same(folder, description.read_text(encoding="utf-8", errors="replace"), plan)
    elif any(path != part_of(description) for path in folder.iterdir()):
        raise Invalid(f"{folder.name} is not empty and holds no set; choose another --out", field="out")
    else:
        write_atomic(description, plan.encode())
