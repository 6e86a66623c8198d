"""Fills the figures of README.md from the shipped bundle's model card: `python -m docs.figures` in the root folder.

The card's table was written by `twofold-train evaluate --record`; this picks its headline lines and changes no number.
"""

from __future__ import annotations

import sys
from pathlib import Path

from model import contract
from service.bundles import DEFAULT_BUNDLE

README = Path("README.md")
BEGIN, END = "<!-- figures:begin -->\n", "<!-- figures:end -->"
COMMAND = (
    "twofold-train evaluate model/pretrained/fashion-mnist --data data/fashion_mnist --judge runs/judge "
    "--beside runs/paper.json --seeds runs/seed-1.json --seeds runs/seed-2.json --record"
)
HEADLINES = (
    "class accuracy",
    "leak, linear",
    "leak, MLP 256-256",
    "leak, MLP on sampled z_u",
    "class kept, of the true class",
    "class kept, of the class read",
    "style moved, brightness r",
    "... r with the class source",  # the first of that name: brightness
    "style kept, retrieval of b in 100",
    "class consistency",
    "Fréchet distance (judge)",
    "pixel variance within class, ratio to real",
    "reconstruction PSNR, dB",
    "reconstruction SSIM",
    "decoder, million multiply-adds",
    "bundle, MB",
)


def block(card: str) -> str:
    """The headline lines of a model card's table (Markdown), its footnote and the command, as they stand in README.md."""
    lines = card.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("| measure |"))
    body = [line for line in lines[head + 2 :] if line.startswith("| ")]
    first: dict[str, str] = {}
    for line in body:
        first.setdefault(line.split(" | ")[0].removeprefix("| "), line)
    footnote = next(line for line in lines[head:] if "judge" in line and "pictures" in line and not line.startswith("|"))
    chosen = [*lines[head : head + 2], *(first[title] for title in HEADLINES)]
    return "\n".join([*chosen, "", f"{footnote} `x` marks a missed bar. Made by `{COMMAND}`."]) + "\n"


def fill(readme: str, card: str) -> str:
    """README with its figures replaced. Raises ValueError without the two markers."""
    before, after = readme.index(BEGIN) + len(BEGIN), readme.index(END)
    return readme[:before] + block(card) + readme[after:]


if __name__ == "__main__":
    card = (DEFAULT_BUNDLE / contract.MODEL_CARD).read_text(encoding="utf-8")
    README.write_text(fill(README.read_text(encoding="utf-8"), card), encoding="utf-8")
    sys.exit(0)
