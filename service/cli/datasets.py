"""`twofold synthesize`, `augment`, `counterfactual`: whole data sets. Arguments to a plan, and what is reported while it runs.

Imported whenever the command line is, so everything heavy is imported when a command runs.
"""

from __future__ import annotations

import argparse
import errno
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from twofold.service.cli.exit_codes import INTERRUPTED, OK, OURS
from twofold.service.cli.options import add_parameters
from twofold.service.datasets.plan import (
    AUGMENT,
    COUNTERFACTUAL,
    MAX_PICTURES,
    SYNTHESIZE,
    Augmentation,
    Counterfactual,
    EditOptions,
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

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHOWN = 5  # of the files that were passed over


def add_synthesize(commands: Any) -> None:
    """`twofold synthesize`, with the `prepare` that `run` begins with."""
    command = commands.add_parser(
        "synthesize",
        help="make a whole data set of generated pictures",
        description="Generated pictures, as many of every class. Picture k of a class is that of GET /generate?class=...&seed=S&index=k.",
    )
    add_parameters(command, SYNTHESIZE, *SYNTHESIZE, check=True, required="per_class")
    _add_shared(command)
    command.set_defaults(prepare=_synthesis)


def add_augment(commands: Any) -> None:
    """`twofold augment`, with its `prepare`."""
    command = commands.add_parser(
        "augment",
        help="make other pictures of the same classes from a folder of pictures",
        description="Same class, other styles. DIR has one sub-folder of pictures for each class.",
    )
    command.add_argument("folder", type=Path, metavar="DIR")
    add_parameters(command, AUGMENT, *AUGMENT, check=True)
    _add_shared(command)
    command.set_defaults(prepare=_augmentation)


def add_counterfactual(commands: Any) -> None:
    """`twofold counterfactual`, with its `prepare`."""
    command = commands.add_parser(
        "counterfactual",
        help="show every picture of a folder as another class, in its own style",
        description="Same style, another class, which labels the result. DIR has one sub-folder of pictures for each class.",
    )
    command.add_argument("folder", type=Path, metavar="DIR")
    command.add_argument("--to", required=True, metavar="CLASS", help="an index, a name, or the beginning of one")
    add_parameters(command, COUNTERFACTUAL, *COUNTERFACTUAL, check=True)
    _add_shared(command)
    command.set_defaults(prepare=_counterfactual)


def _add_shared(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--out", type=Path, required=True, metavar="OUT", help="a folder, or a file named .parquet; the same command again continues in it"
    )
    about = "a bundle folder, or hf:USER/NAME[@REVISION] on a hub (what TWOFOLD_BUNDLE says, else the embedded one)"
    command.add_argument("--bundle", type=Path, action="append", metavar="BUNDLE", help=about)
    command.add_argument("--json", action="store_true", help="a summary on stdout")


# ------------------------------------------------------------------------------------------------------ arguments to a plan


def _synthesis(arguments: argparse.Namespace, model: Arrays) -> Renderer:
    from twofold.service.datasets.render import Generator

    return Generator(model, Synthesis(model.card.class_names, **{name: getattr(arguments, name) for name in SYNTHESIZE}))


def _augmentation(arguments: argparse.Namespace, model: Arrays) -> Renderer:
    edit = EditOptions(style_spread=arguments.spread, seed=arguments.seed, temperature=arguments.temperature)
    return _editor(Augmentation, edit, arguments, model, arguments.per_picture)


def _counterfactual(arguments: argparse.Namespace, model: Arrays) -> Renderer:
    from twofold.service.runtime import latents

    edit = EditOptions(to=latents.parse_class(arguments.to, model.card.class_names), strength=arguments.strength)
    return _editor(Counterfactual, edit, arguments, model, 1)


def _editor(
    kind: type[Augmentation | Counterfactual], edit: EditOptions, arguments: argparse.Namespace, model: Arrays, per_source: int
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


# ----------------------------------------------------------------------------------------------------------- running a plan


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
            filled = "#" * (30 * done // self._pictures)
            print(
                f"\r[{filled:<30}] {done}/{self._pictures} {rate:.0f}/s {minutes}:{seconds:02d} left ", end="", file=sys.stderr, flush=True
            )
            self._written = True

    def __exit__(self, *_: object) -> None:
        if self._written:
            print(file=sys.stderr)
