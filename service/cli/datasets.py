"""`twofold synthesize`, `augment`, `counterfactual`: whole data sets. Arguments to a plan, and what is reported while it runs."""

from __future__ import annotations

import argparse
import errno
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from twofold.service.cli.arguments import settings_of
from twofold.service.cli.exit_codes import INTERRUPTED, OK, OURS
from twofold.service.datasets import image_folder
from twofold.service.datasets.image_folder import Render, Report
from twofold.service.datasets.plan import (
    MAX_PICTURES,
    SYNTHESIZE,
    Augmentation,
    Counterfactual,
    EditOptions,
    Plan,
    Synthesis,
    Tally,
    describe,
)
from twofold.service.datasets.render import Editor, Generator, Renderer
from twofold.service.datasets.sources import find
from twofold.service.runtime import latents
from twofold.service.runtime.array_api import Arrays, load_bundle
from twofold.service.runtime.errors import Invalid

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHOWN = 5  # of the files that were passed over


# ------------------------------------------------------------------------------------------------------ arguments to a plan


def _synthesis(arguments: argparse.Namespace, model: Arrays) -> Renderer:
    return Generator(model, Synthesis(model.card.class_names, **{name: getattr(arguments, name) for name in SYNTHESIZE}))


def _augmentation(arguments: argparse.Namespace, model: Arrays) -> Renderer:
    edit = EditOptions(style_spread=arguments.spread, seed=arguments.seed, temperature=arguments.temperature)
    return _editor(Augmentation, edit, arguments, model, arguments.per_picture)


def _counterfactual(arguments: argparse.Namespace, model: Arrays) -> Renderer:
    edit = EditOptions(to=latents.parse_class(arguments.to, model.card.class_names), strength=arguments.strength)
    return _editor(Counterfactual, edit, arguments, model, 1)


def _editor(
    kind: type[Augmentation | Counterfactual], edit: EditOptions, arguments: argparse.Namespace, model: Arrays, per_source: int
) -> Renderer:
    root, out = arguments.folder.resolve(), arguments.out.resolve()
    if out.is_relative_to(root) or root.is_relative_to(out):
        raise Invalid("--out must lie outside of the folder that is read", field="out")
    sources = find(arguments.folder, model.card.class_names)
    if len(sources.pictures) * per_source > MAX_PICTURES:
        raise Invalid(f"a set may have {MAX_PICTURES} pictures; ask for fewer", field="per_picture")
    editor = Editor(model, kind(model.card.class_names, sources.pictures, sources.sha256, edit, per_source), arguments.folder)
    editor.skipped |= sources.skipped
    return editor


_PREPARE: dict[str, Callable[[argparse.Namespace, Arrays], Renderer]] = {
    "synthesize": _synthesis,
    "augment": _augmentation,
    "counterfactual": _counterfactual,
}

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
    renderer = _PREPARE[arguments.command](arguments, load_bundle(settings=settings_of(arguments)))
    plan = renderer.plan
    with _ProgressLine(len(plan)) as line:
        tally = write(plan, describe(plan, renderer.made_by), renderer.render, arguments.out, line.report)
    return renderer, tally


def _writer(out: Path) -> Callable[[Plan, str, Render, Path, Report], Tally]:
    if out.suffix != ".parquet":
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
