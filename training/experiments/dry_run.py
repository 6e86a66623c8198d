"""`twofold-train train --dry-run`: what a run would train and cost, without the run; and its first batch as a picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from twofold import image_grid
from twofold.model.contract import Pixels
from twofold.training.config.schema import Config
from twofold.training.data.dataset import Pictures
from twofold.training.experiments.profile import STEPS, duration, parameters, profile
from twofold.training.trainer.batches import batches
from twofold.training.trainer.distributed import SINGLE_PROCESS, Distributed
from twofold.training.trainer.latents import to_pixels
from twofold.training.trainer.run_dir import as_image

PICTURE = "batch.png"
COLUMNS, GAP = 16, 2  # of the picture


def dry_run(
    config: Config,
    train: Pictures,
    validation: Pictures,
    out: Path,
    say: Callable[[str], object],
    steps: int = STEPS,
    distributed: Distributed = SINGLE_PROCESS,
) -> str:
    """Write the first stage's first batch, augmented, as `out`/batch.png; say parameters, memory and time; return the config as JSON.

    Measures on the device of `distributed`, as training would use it. Raises what training would: ConfigError, Diverged.
    """
    if distributed.first:
        _write_batch(config, train, out)
    say(f"{out / PICTURE}: a batch of stage {config.stage[0].name!r} as the model gets it")
    counts = parameters(config, train)
    say("parameters: " + ", ".join(f"{part} {count:,}" for part, count in counts.items()) + f"; together {sum(counts.values()):,}")
    measured = profile(config, train, validation, steps, distributed)
    where = f"on {distributed.device.type}, {measured.peak_bytes / 1e9:.1f} GB at the peak"
    say(f"memory: {where} of {steps} steps of each stage, pictures included")
    for stage, step_s, seconds in zip(config.stage, measured.step_s, measured.stage_s(config, len(train)), strict=True):
        say(f"{stage.name}: {stage.epochs:g} epochs, {duration(seconds)} ({stage.batch / step_s:,.0f} pictures/s)")
    say(f"time: about {duration(measured.total_s(config, len(train)))} in all, as busy as this machine is now")
    return json.dumps(config.to_dict(), indent=2)


def _write_batch(config: Config, train: Pictures, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    batch = next(batches(train, config.stage[0], (config.seed, 0), 0, None))
    sheet(to_pixels(batch.x)).save(out / PICTURE)


def sheet(pixels: Pixels) -> Image.Image:
    """Pictures uint8 [N, H, W, C] -> one picture, rows of 16, grey between them."""
    return as_image(image_grid.sheet(pixels, min(COLUMNS, len(pixels)), background=128, gap=GAP, margin=GAP))
