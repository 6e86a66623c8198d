"""What a run leaves beside its checkpoints: who made it, from what, and how it went. Only the first process of a run has one.

    config.json       the configuration, every default written out
    environment.json  versions, machine, device, threads, git revision
    data.json         the pictures: where from, how many of each class, SHA-256 over their pixels and labels
    log.jsonl         a line per log interval: time (UTC), stage, step, images/s, losses, the last validation; warnings
    scalars/          the same for TensorBoard
    validation/       a sheet of samples, swaps and reconstructions per validation (fixed codes)
    film.webp         of these sheets, when the run ends
    last.pt           where the run goes on; best.pt: the best validation of the stage by diagnostics.criterion;
                      stage-N.pt: the end of each stage; step-NNNNNNNN.pt: every Nth step

Knows files; knows nothing of models and of when anything is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from twofold.files import write_atomic
from twofold.model.contract import Pixels
from twofold.training.trainer.checkpoint import CheckpointError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CONFIG, ENVIRONMENT, DATA, LOG = "config.json", "environment.json", "data.json", "log.jsonl"
LAST, BEST, SCALARS, VALIDATION, FILM = "last.pt", "best.pt", "scalars", "validation", "film.webp"
FRAME_MS, LAST_FRAME_MS = 250, 2000


class RunDir:
    """The folder of one run. Its methods raise CheckpointError where a file cannot be written: the checkpoints stay whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _writing(LOG):
            (path / VALIDATION).mkdir(parents=True, exist_ok=True)
        self.scalars: SummaryWriter | None = None

    def describe(self, config: Mapping[str, object], environment: Mapping[str, object], data: Mapping[str, object]) -> None:
        """Write who, from what and where: config.json, environment.json, data.json."""
        for name, facts in ((CONFIG, config), (ENVIRONMENT, environment), (DATA, data)):
            with _writing(name):
                (self.path / name).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def open(self, stage_number: int, step: int, global_step: int) -> None:
        """Start to log after a step (`stage_number` from 1): what a cut run logged after its checkpoint is forgotten."""
        log, kept = self.path / LOG, []
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else ():
            facts = _parse(line)
            if facts and (facts["stage_number"], facts["step"]) <= (stage_number, step):
                kept.append(line)
        with _writing(LOG):
            write_atomic(log, "".join(kept).encode())
        from torch.utils.tensorboard import SummaryWriter  # costs a second: only where something is written

        with _writing(SCALARS):
            self.scalars = SummaryWriter(str(self.path / SCALARS), purge_step=global_step + 1)

    def log(self, facts: Mapping[str, object], global_step: int) -> None:
        """Append a line; numbers of losses, validation and speed go to TensorBoard too. Only between `open` and `close`."""
        assert self.scalars is not None
        with _writing(LOG), (self.path / LOG).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(facts) + "\n")
        with _writing(SCALARS):
            for name, value in facts.items():
                if isinstance(value, float):
                    self.scalars.add_scalar(name.replace("loss_", "loss/", 1), value, global_step)

    def save_sheet(self, sheet: Pixels, stage_number: int, step: int) -> None:
        """Write a sheet uint8 [H, W, C] as validation/<stage>-<step>.png."""
        with _writing(VALIDATION):
            as_image(sheet).save(self.path / VALIDATION / f"{stage_number:02d}-{step:07d}.png")

    def film(self) -> None:
        """Join the sheets into film.webp, in their order; the last one stays longer."""
        files = sorted((self.path / VALIDATION).glob("*.png"))
        if files:
            first, *rest = (Image.open(file).convert("RGB") for file in files)
            with _writing(FILM):
                durations = [FRAME_MS] * len(rest) + [LAST_FRAME_MS]
                first.save(self.path / FILM, save_all=True, append_images=rest, duration=durations if rest else LAST_FRAME_MS, loop=0)

    def close(self) -> None:
        """End the log; what was written stays."""
        if self.scalars is not None:
            with _writing(SCALARS):
                self.scalars.close()
            self.scalars = None


def as_image(pixels: Pixels) -> Image.Image:
    """Pixels uint8 [H, W, C] as an image, grey where C is 1."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def now() -> str:
    """The time in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _parse(line: str) -> dict[str, Any] | None:
    """A line of the log; None for one that was cut while it was written."""
    try:
        facts = json.loads(line)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) and {"stage_number", "step"} <= set(facts) else None


@contextmanager
def _writing(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{name}: cannot be written (is the disk full?); the last checkpoint is whole") from error
