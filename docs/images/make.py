"""Draws docs/images/swap-matrix.png, the picture of the README: `python -m docs.images.make [BUNDLE]` in the root folder.

Rows give the class, columns the style; the headers are example pictures that came with the bundle. Knows the in-process client
and Pillow; the pixels of every cell are those of the service, enlarged.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model import contract
from model.contract import Pixels
from model.preprocessing import to_pixels
from service.arrays import Arrays
from service.bundles import DEFAULT_BUNDLE
from service.client import Local

SCALE = 4  # nearest neighbour, so that a pixel of the model stays a pixel
GUTTER, FRAME, LABEL = 2, 3, 26  # in pixels of the result
PAPER, CLASS, STYLE = "#ffffff", "#5b2be0", "#ad4a00"  # violet is the class, orange is the style, as on the page


def matrix(local: Arrays, originals: Pixels) -> Pixels:
    """Pictures uint8 [n,H,W,C] -> swaps [n,n,H,W,C]: cell (row, column) has the class of `row` and the style of `column`."""
    n = len(originals)
    swapped = local.swap(np.repeat(originals, n, axis=0), np.tile(originals, (n, 1, 1, 1)))
    return swapped.reshape(n, n, *originals.shape[1:])


def draw(originals: Pixels, cells: Pixels) -> Image.Image:
    """Originals [n,H,W,C] as headers of both sides around cells [n,n,H,W,C]."""
    n, height, width = len(originals), SCALE * originals.shape[1], SCALE * originals.shape[2]
    step_x, step_y = width + GUTTER, height + GUTTER
    left, top = LABEL + width + 4 * FRAME, LABEL + height + 4 * FRAME
    canvas = Image.new("RGB", (left + n * step_x + FRAME, top + n * step_y + FRAME), PAPER)
    pen = ImageDraw.Draw(canvas)
    for k in range(n):
        x, y = left + k * step_x, top + k * step_y
        for corner, colour in (((x, LABEL + FRAME), STYLE), ((LABEL + FRAME, y), CLASS)):
            canvas.paste(_enlarged(originals[k]), corner)
            pen.rectangle((corner[0], corner[1], corner[0] + width - 1, corner[1] + height - 1), outline=colour, width=FRAME)
        for column in range(n):
            canvas.paste(_enlarged(cells[k, column]), (left + column * step_x, y))
    canvas.paste(_label("style from", n * step_x, STYLE), (left, 0))
    canvas.paste(_label("class from", n * step_y, CLASS).transpose(Image.Transpose.ROTATE_90), (0, top))
    return canvas


def _enlarged(pixels: Pixels) -> Image.Image:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return image.resize((SCALE * image.width, SCALE * image.height), Image.Resampling.NEAREST).convert("RGB")


def _label(text: str, length: int, colour: str) -> Image.Image:
    strip = Image.new("RGB", (length, LABEL), PAPER)
    ImageDraw.Draw(strip).text((length / 2, LABEL / 2), text, colour, ImageFont.load_default(18), "mm")
    return strip


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw a swap matrix of a bundle's example pictures.")
    parser.add_argument("bundle", type=Path, nargs="?", default=DEFAULT_BUNDLE, help="bundle folder (default: the embedded one)")
    parser.add_argument("--examples", type=int, nargs="+", default=[0, 1, 3, 5, 8, 9], metavar="N", help="which examples, by order")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("swap-matrix.png"))
    args = parser.parse_args(argv)
    local = Local(args.bundle).arrays
    files = sorted((args.bundle / contract.EXAMPLES).glob("*.png"))
    originals = np.stack([to_pixels(Image.open(files[n]), local.card.dims, local.card.preprocessing)[0] for n in args.examples])
    draw(originals, matrix(local, originals)).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
