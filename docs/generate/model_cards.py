"""The figures of the models that ship, as `twofold-train evaluate --record` wrote them into their model cards.

Copies the tables and changes no number.
"""

from __future__ import annotations

from pathlib import Path

BUNDLES = Path(__file__).resolve().parents[2] / "model" / "pretrained"
MODEL_CARD = "README.md"


def part() -> str:
    """Markdown: a section for each bundle in model/pretrained with its table of figures and the footnote."""
    return "\n".join(section(path.parent.name, path.read_text(encoding="utf-8")) for path in sorted(BUNDLES.glob(f"*/{MODEL_CARD}")))


def section(name: str, card: str) -> str:
    """The section of one model card. Raises ValueError when the card has no figures."""
    _, found, figures = card.partition("\n## Figures\n")
    if not found:
        raise ValueError(f"the model card of {name} has no figures")
    return f"## {name}\n{figures.partition(chr(10) + '## ')[0]}"
