"""A data set whose right answers are known: capital letters drawn in the typefaces installed here. Class = letter, style = face.

    python -m tests.glyphs OUT [--per-class N]

writes OUT/A/<face>.png ... OUT/Z/<face>.png, 64x64 grey, black on white. A face counts only if its 26 letters are drawn, all
different, of letter-like size, and not those of a face before it. More faces: install Debian's fonts-* packages.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Packages of Debian 12 that give 521 faces: apt-get install --no-install-recommends $(python -m tests.glyphs --packages)
PACKAGES = """
fonts-dejavu fonts-liberation fonts-freefont-ttf fonts-lato fonts-roboto-unhinted fonts-roboto-slab fonts-open-sans
fonts-cantarell fonts-croscore fonts-crosextra-caladea fonts-crosextra-carlito fonts-cabin fonts-comfortaa fonts-comic-neue
fonts-courier-prime fonts-dosis fonts-dustin fonts-ebgaramond fonts-essays1743 fonts-fanwood fonts-fantasque-sans fonts-firacode
fonts-go fonts-hack fonts-inconsolata fonts-junction fonts-jura fonts-karla fonts-linuxlibertine fonts-manrope fonts-mononoki
fonts-oldstandard fonts-opendyslexic fonts-oxygen fonts-paratype fonts-play fonts-prociono fonts-quattrocento fonts-quicksand
fonts-sil-andika fonts-sil-charis fonts-sil-gentium-basic fonts-texgyre fonts-tuffy fonts-urw-base35 fonts-vollkorn
fonts-yanone-kaffeesatz fonts-yrsa-rasa fonts-averia-gwf fonts-averia-sans-gwf fonts-averia-serif-gwf fonts-b612
fonts-adf-accanthis fonts-adf-baskervald fonts-adf-berenis fonts-adf-gillius fonts-adf-romande fonts-adf-universalis fonts-cmu
fonts-dancingscript fonts-lobster fonts-lobstertwo fonts-kaushanscript fonts-league-spartan fonts-league-mono
"""
FONTS = Path("/usr/share/fonts")
NO_LETTERS = ("Keyboard", "LinBiolinum_K", "D050000L", "StandardSymbols")  # keys, dingbats, Greek where Latin is expected
LETTERS = string.ascii_uppercase
SIDE, CAPITAL = 64, 40  # pixels: the picture, the height of an H in it


def faces(root: Path = FONTS) -> Iterator[tuple[str, dict[str, Image.Image]]]:
    """(name of the face, its letters), in the order of the file names."""
    known: set[str] = set()
    for file in sorted(p for p in root.rglob("*") if p.suffix.lower() in (".ttf", ".otf")):
        letters = None if file.stem.startswith(NO_LETTERS) else draw(file)
        if letters is None:
            continue
        digest = hashlib.sha256(b"".join(letters[c].tobytes() for c in LETTERS)).hexdigest()
        if digest not in known:
            known.add(digest)
            yield re.sub(r"[^A-Za-z0-9]+", "-", file.stem), letters


def draw(file: Path) -> dict[str, Image.Image] | None:
    """The letters of a face, an H 40 pixels high and every letter centred on its own width; None if it has no real capitals."""
    try:
        font = ImageFont.truetype(file, 100)
        _, top, _, bottom = font.getbbox("H", anchor="ls")
        font = ImageFont.truetype(file, max(1, round(100 * CAPITAL / max(1, bottom - top))))
        letters = {c: _letter(font, c) for c in LETTERS}
        widest = max(right - left for left, _, right, _ in (font.getbbox(c, anchor="ls") for c in LETTERS))
    except (OSError, ValueError):
        return None
    dark = {c: np.asarray(letters[c]) < 128 for c in LETTERS}
    heights = [int(dark[c].any(1).sum()) for c in LETTERS]
    different = len({letters[c].tobytes() for c in LETTERS})
    plausible = min(heights) > 0.5 * CAPITAL and widest < SIDE and max(d.mean() for d in dark.values()) < 0.5
    return letters if plausible and different == len(LETTERS) else None


def _letter(font: ImageFont.FreeTypeFont, letter: str) -> Image.Image:
    picture = Image.new("L", (SIDE, SIDE), 255)
    left, _, right, _ = font.getbbox(letter, anchor="ls")
    ImageDraw.Draw(picture).text(((SIDE - left - right) / 2, (SIDE + CAPITAL) / 2), letter, 0, font, "ls")
    return picture


def write(out: Path, per_class: int | None = None) -> int:
    """Write the folder tree; returns the number of faces. If few are wanted, they come from all over the list."""
    found = list(faces())
    if per_class is not None:
        found = [found[i] for i in np.unique(np.linspace(0, len(found) - 1, min(per_class, len(found))).astype(int))]
    for number, (name, letters) in enumerate(found):
        for letter, picture in letters.items():
            (out / letter).mkdir(parents=True, exist_ok=True)
            picture.save(out / letter / f"{number:04d}-{name}.png")
    return len(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--per-class", type=int, help="so many faces (default: all)")
    parser.add_argument("--packages", action="store_true", help="print the Debian packages that the acceptance uses, and stop")
    args = parser.parse_args()
    if args.packages:
        print(*PACKAGES.split())
    elif args.out is None:
        parser.error("give a folder to write")
    else:
        print(f"{write(args.out, args.per_class)} faces of {len(LETTERS)} letters in {args.out}")
