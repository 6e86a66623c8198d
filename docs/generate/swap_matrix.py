"""Draws a swap matrix of a bundle's example pictures, for the README: `python -m docs.generate.swap_matrix [BUNDLE]` in the root folder.

Rows give the class, columns the style; the headers are pictures that came with the bundle. The pixels of every cell are those of the
service, enlarged.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from twofold import Local
from twofold.model import contract
from twofold.model.contract import Pixels
from twofold.model.preprocessing import to_pixels
from twofold.service.runtime.array_api import Arrays
from twofold.service.runtime.registry import DEFAULT_BUNDLE
from twofold.training.reporting.paper_figures import CLASS, STYLE, Sheet, draw

IMAGES = Path(__file__).resolve().parents[1] / "images"


def matrix(local: Arrays, originals: Pixels) -> Pixels:
    """Pictures uint8 [n,H,W,C] -> swaps [n,n,H,W,C]: cell (row, column) has the class of `row` and the style of `column`."""
    n = len(originals)
    swapped = local.swap(np.repeat(originals, n, axis=0), np.tile(originals, (n, 1, 1, 1)))
    return swapped.reshape(n, n, *originals.shape[1:])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw a swap matrix of a bundle's example pictures.")
    parser.add_argument("bundle", type=Path, nargs="?", default=DEFAULT_BUNDLE, help="bundle folder (default: the embedded one)")
    parser.add_argument("--examples", type=int, nargs="+", default=[0, 1, 3, 5, 8, 9], metavar="N", help="which examples, by order")
    parser.add_argument("--out", type=Path, default=IMAGES / "swap-matrix.png")
    args = parser.parse_args(argv)
    with Local(args.bundle) as local:
        card, arrays = local.arrays.card, local.arrays
        files = sorted((args.bundle / contract.EXAMPLES).glob("*.png"))
        originals = np.stack([to_pixels(Image.open(files[n]), card.dims, card.preprocessing)[0] for n in args.examples])
        sheet = Sheet(matrix(arrays, originals), ("class from", CLASS), ("style from", STYLE), originals, originals)
    draw(sheet).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
