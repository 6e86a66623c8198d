"""`twofold synthesize`, `augment`, `counterfactual`: whole data sets. Words to a plan, and what is said while it is carried out.

Imported whenever the command line is, so everything heavy waits until a command runs.
"""

from __future__ import annotations

import argparse
import errno
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from twofold.service.cli.exit_codes import INTERRUPTED, OK, OURS
from twofold.service.datasets.plan import (
    MAX_PER_CLASS,
    MAX_PER_PICTURE,
    MAX_PICTURES,
    Augmentation,
    Counterfactual,
    Edit,
    Plan,
    Synthesis,
    describe,
)

if TYPE_CHECKING:
    from twofold.service.datasets.image_folder import Render, Report
    from twofold.service.datasets.plan import Tally
    from twofold.service.datasets.render import Renderer
    from twofold.service.runtime.array_api import Arrays

    Write = Callable[[Plan, str, Render, Path, Report], Tally]

_MAX_SEED = 2**63 - 1  # codes.MAX_SEED, without numpy
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHOWN = 5  # of the files that were passed over


def add_commands(subparsers: Any) -> None:
    """The three commands, each with the `prepare` that `run` begins with."""
    synthesize = subparsers.add_parser(
        "synthesize",
        help="make a whole data set of generated pictures",
        description="Generated pictures, as many of every class. Picture k of a class is that of GET /generate?class=...&seed=S&index=k.",
    )
    synthesize.add_argument("--per-class", type=_whole(1, MAX_PER_CLASS), required=True, metavar="N", help=f"1 to {MAX_PER_CLASS}")
    _add_shared(synthesize, seeded=True)
    synthesize.add_argument("--class-temperature", type=_number(0, 4), default=1.0, metavar="T", help="spread of the class, 0 to 4 (1)")
    synthesize.add_argument("--sampler", choices=("fitted", "paper"), default="fitted", help="as in /generate (fitted)")
    synthesize.set_defaults(prepare=_synthesis)

    augment = subparsers.add_parser(
        "augment",
        help="make other pictures of the same classes from a folder of pictures",
        description="Same class, other styles. DIR has one sub-folder of pictures for each class.",
    )
    augment.add_argument("folder", type=Path, metavar="DIR")
    augment.add_argument("--per-picture", type=_whole(1, MAX_PER_PICTURE), default=1, metavar="N", help=f"1 to {MAX_PER_PICTURE} (1)")
    augment.add_argument("--spread", type=_number(0, 1), default=0.5, metavar="A", help="0 keeps the style, 1 forgets it (0.5)")
    _add_shared(augment, seeded=True)
    augment.set_defaults(prepare=_augmentation)

    counterfactual = subparsers.add_parser(
        "counterfactual",
        help="show every picture of a folder as another class, in its own style",
        description="Same style, another class, which labels the result. DIR has one sub-folder of pictures for each class.",
    )
    counterfactual.add_argument("folder", type=Path, metavar="DIR")
    counterfactual.add_argument("--to", required=True, metavar="CLASS", help="an index, a name, or the beginning of one")
    counterfactual.add_argument("--strength", type=_number(0, 1), default=1.0, metavar="S", help="0 stays, 1 arrives (1)")
    _add_shared(counterfactual, seeded=False)
    counterfactual.set_defaults(prepare=_counterfactual)


def _add_shared(parser: argparse.ArgumentParser, seeded: bool) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="OUT", help="a folder, or a file named .parquet; the same command again goes on in it"
    )
    if seeded:
        parser.add_argument("--seed", type=_whole(0, _MAX_SEED), default=0, metavar="S", help="the same seed, the same bytes (0)")
        parser.add_argument("--temperature", type=_number(0, 4), default=1.0, metavar="T", help="spread of the style, 0 to 4 (1)")
    about = "a bundle folder, or hf:USER/NAME[@REVISION] on a hub (what TWOFOLD_BUNDLE says, else the embedded one)"
    parser.add_argument("--bundle", type=Path, action="append", metavar="BUNDLE", help=about)
    parser.add_argument("--json", action="store_true", help="a summary on stdout")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be a number from {low} to {high}")
        return value

    return parse


# ---------------------------------------------------------------------------------------------------------- words to a plan


def _synthesis(arguments: argparse.Namespace, model: Arrays) -> Renderer:
    from twofold.service.datasets.render import Generator

    names = ("per_class", "seed", "temperature", "class_temperature", "sampler")
    return Generator(model, Synthesis(model.card.class_names, **{name: getattr(arguments, name) for name in names}))


def _augmentation(arguments: argparse.Namespace, model: Arrays) -> Renderer:
    edit = Edit(style_spread=arguments.spread, seed=arguments.seed, temperature=arguments.temperature)
    return _editor(Augmentation, edit, arguments, model, arguments.per_picture)


def _counterfactual(arguments: argparse.Namespace, model: Arrays) -> Renderer:
    from twofold.service.runtime import latents

    edit = Edit(to=latents.parse_class(arguments.to, model.card.class_names), strength=arguments.strength)
    return _editor(Counterfactual, edit, arguments, model, 1)


def _editor(
    kind: type[Augmentation | Counterfactual], edit: Edit, arguments: argparse.Namespace, model: Arrays, per_source: int
) -> Renderer:
    from twofold.service.datasets.render import Editor
    from twofold.service.datasets.sources import find
    from twofold.service.runtime.errors import Invalid

    root, out = arguments.folder.resolve(), arguments.out.resolve()
    if out.is_relative_to(root) or root.is_relative_to(out):
        raise Invalid("--out must lie outside of the folder that is read", field="out")
    sources = find(arguments.folder, model.card.class_names)
    if len(sources.pictures) * per_source > MAX_PICTURES:
        raise Invalid(f"a set may have {MAX_PICTURES} pictures; ask for fewer", field="per_picture")
    editor = Editor(model, kind(model.card.class_names, sources.pictures, sources.sha256, edit, per_source), arguments.folder)
    editor.skipped |= sources.skipped
    return editor


# ------------------------------------------------------------------------------------------------------------- carrying out


def run(arguments: argparse.Namespace) -> int:
    """Carry out one command; returns the exit code. Raises ContractError, SettingsError and TwofoldError."""
    try:
        renderer, tally = _carry_out(arguments)
    except KeyboardInterrupt:
        return _complain(f"interrupted; the same command goes on in {arguments.out}", INTERRUPTED)
    except OSError as error:
        if error.errno in _FULL:
            return _complain(f"the disk is full; make room, and the same command goes on in {arguments.out}", OURS)
        return _complain(f"{error.strerror or error}: {error.filename or arguments.out}", OURS)
    _sum_up(arguments, renderer, tally)
    return OK


def _carry_out(arguments: argparse.Namespace) -> tuple[Renderer, Tally]:
    write = _writer(arguments.out)
    from twofold.service.cli.arguments import settings_of
    from twofold.service.datasets.render import open_model

    renderer = arguments.prepare(arguments, open_model(settings_of(arguments)))
    plan = renderer.plan
    with _ProgressLine(len(plan)) as line:
        tally = write(plan, describe(plan, renderer.made_by), renderer.render, arguments.out, line.report)
    return renderer, tally


def _writer(out: Path) -> Write:
    from twofold.service.runtime.errors import Invalid

    if out.suffix != ".parquet":
        from twofold.service.datasets import image_folder

        return image_folder.write
    try:
        from twofold.service.datasets import parquet
    except ImportError:
        raise Invalid("a .parquet file needs pyarrow: pip install 'twofold[parquet]', or give a folder", field="out") from None
    return parquet.write


def _sum_up(arguments: argparse.Namespace, renderer: Renderer, tally: Tally) -> None:
    names, skipped = renderer.plan.class_names, renderer.skipped
    for file, reason in list(skipped.items())[:_SHOWN]:
        print(f"passed over {file}: {reason}", file=sys.stderr)
    if len(skipped) > _SHOWN:
        print(f"passed over {len(skipped) - _SHOWN} more", file=sys.stderr)
    found = f", of which {tally.found} were there" if tally.found else ""
    print(f"{tally.found + tally.made} pictures in {arguments.out}{found}", file=sys.stderr)
    if arguments.json:
        summary = {
            "do": renderer.plan.do,
            "out": str(arguments.out),
            "model": renderer.model.card.id,
            "pictures": tally.found + tally.made,
            "found": tally.found,
            "made": tally.made,
            "classes": dict(zip(names, tally.by_label, strict=True)),
            "skipped": skipped,
            **renderer.plan.asked(),
        }
        print(json.dumps(summary, ensure_ascii=False))


def _complain(sentence: str, code: int) -> int:
    print(f"twofold: {sentence}", file=sys.stderr)
    return code


class _ProgressLine:
    """One line on a terminal, written over; nothing anywhere else."""

    def __init__(self, pictures: int) -> None:
        self._shown, self._written = sys.stderr.isatty(), False
        self._pictures, self._started = pictures, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def report(self, done: int) -> None:
        if self._shown:
            rate = done / max(time.monotonic() - self._started, 1e-3)
            minutes, seconds = divmod(int((self._pictures - done) / rate), 60)
            bar = "#" * (30 * done // self._pictures)
            print(f"\r[{bar:<30}] {done}/{self._pictures} {rate:.0f}/s {minutes}:{seconds:02d} left ", end="", file=sys.stderr, flush=True)
            self._written = True

    def __exit__(self, *_: object) -> None:
        if self._written:
            print(file=sys.stderr)
