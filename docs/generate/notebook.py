"""A Jupyter notebook without outputs as a page of the site."""

from __future__ import annotations

import json
from pathlib import Path


def page(path: Path) -> str:
    """Markdown: text cells as they are, code cells as Python blocks. Raises ValueError for a notebook with stored outputs."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    if any(cell.get("outputs") for cell in cells):
        raise ValueError(f"{path.name}: clear the outputs before committing")
    return "\n\n".join(_cell(cell["cell_type"], "".join(cell["source"])) for cell in cells) + "\n"


def _cell(kind: str, source: str) -> str:
    return f"```python\n{source}\n```" if kind == "code" else source
