"""Results to stdout and files. Data goes to stdout, talk to stderr; it does not know how the results came."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from twofold.service.client import Picture, Pictures
from twofold.service.runtime.errors import Invalid

STDOUT = "-"
_SUFFIXES = (".png", ".webp")


def format_of(arguments: argparse.Namespace, animated: bool = False) -> Any:
    """png, webp or (`animated`) gif: what --format says, else the suffix of --out. Raises Invalid when nothing can be written there."""
    out = arguments.out
    if out == STDOUT and arguments.json:
        raise Invalid("stdout holds pictures or JSON, not both: leave out --json or --out -.")
    if out == STDOUT and sys.stdout.isatty():
        raise Invalid("A picture would garble the terminal: send stdout to a file or a pipe.")
    suffix = "" if out in (None, STDOUT) or _is_folder(out) else Path(out).suffix.lower()
    if animated and suffix == ".gif":
        return "gif"
    if suffix not in ("", *_SUFFIXES) or (not suffix and out not in (None, STDOUT) and not _is_folder(out)):
        raise Invalid("--out must end with .png or .webp, or with / for a folder.")
    return getattr(arguments, "format", None) or suffix[1:] or "png"


def deliver(pictures: Pictures, arguments: argparse.Namespace) -> None:
    """JSON to stdout where that was asked for; else, or with --out too, files or bytes."""
    if arguments.json:
        print_json(answer_of(pictures))
        if arguments.out is None:
            return
    write(pictures, arguments.out or f"{arguments.command}.{format_of(arguments)}")


def write(pictures: Pictures, out: str) -> None:
    """A file each into a folder, else one picture or sheet to a file or stdout."""
    if out == STDOUT:
        _to_stdout(pictures.sheet())
    elif _is_folder(out):
        Path(out).mkdir(parents=True, exist_ok=True)
        for k, picture in enumerate(pictures):
            picture.save(Path(out) / f"{k:04}{picture.suffix}")
        _say(pictures, out)
    else:
        pictures.sheet().save(out)
        _say(pictures, out)


def write_animation(picture: Picture, arguments: argparse.Namespace) -> None:
    """To stdout, or to a file that has the animation's suffix. Raises Invalid where it has another."""
    out = arguments.out or f"{arguments.command}{picture.suffix}"
    if out == STDOUT:
        _to_stdout(picture)
        return
    if Path(out).suffix.lower() != picture.suffix:
        raise Invalid("--out of an animation must end with .gif or .webp.")
    picture.save(out)
    print(f"{out}: {arguments.frames} frames", file=sys.stderr)


def _to_stdout(picture: Picture) -> None:
    sys.stdout.buffer.write(picture.data)
    sys.stdout.buffer.flush()


def _is_folder(out: str) -> bool:
    return out.endswith("/") or Path(out).is_dir()


def _say(pictures: Pictures, out: str) -> None:
    seed = "" if pictures.seed is None else f", seed {pictures.seed}"
    print(f"{out}: {len(pictures)} picture{'s' * (len(pictures) > 1)} of {pictures.model}{seed}", file=sys.stderr)


def answer_of(pictures: Pictures) -> dict[str, object]:
    """What the HTTP interface answers as JSON, of all requests that it took."""
    images = [picture.entry for picture in pictures]
    answer: dict[str, object] = {"model": pictures.model, "images": images, "rows": pictures.rows, "cols": pictures.cols}
    if pictures.notes is not None:
        answer["notes"] = pictures.notes
    return answer | {"timings_ms": pictures.timings_ms}


def print_json(value: object) -> None:
    """One line of JSON on stdout."""
    print(json.dumps(value, ensure_ascii=False))


def print_line(*columns: object) -> None:
    """Columns with tabs between; None is a dash."""
    print("\t".join("-" if column is None else f"{column:.4f}" if isinstance(column, float) else str(column) for column in columns))
