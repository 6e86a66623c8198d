"""`twofold-train train --dry-run`: everything about a run but the run. Knows what a configuration will cost, and shows a batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from twofold.training.config.schema import Config
from twofold.training.data.dataset import Pictures
from twofold.training.experiments.profile import STEPS, clock, parameters, rehearse
from twofold.training.trainer.batches import batches

PICTURE = "batch.png"
COLUMNS, GAP = 16, 2  # of the picture


def dry_run(config: Config, train: Pictures, validation: Pictures, out: Path, say: Callable[[str], object], steps: int = STEPS) -> str:
    """Write the first stage's first batch, augmented, as `out`/batch.png; say parameters, memory and time; return the config as JSON."""
    out.mkdir(parents=True, exist_ok=True)
    batch = next(batches(train, config.stage[0], (config.seed, 0), 0, None))
    pixels = (batch.x * 255).round().byte().permute(0, 2, 3, 1).numpy()
    sheet(pixels).save(out / PICTURE)
    say(f"{out / PICTURE}: a batch of stage {config.stage[0].name!r} as the model gets it")
    counts = parameters(config, train)
    say("parameters: " + ", ".join(f"{part} {count:,}" for part, count in counts.items()) + f"; together {sum(counts.values()):,}")
    measured = rehearse(config, train, validation, steps)
    say(f"memory: {measured.peak_bytes / 1e9:.1f} GB at the peak of {steps} steps of each stage, pictures included")
    for stage, step_s, seconds in zip(config.stage, measured.step_s, measured.stage_s(config, len(train)), strict=True):
        say(f"{stage.name}: {stage.epochs:g} epochs, {clock(seconds)} ({stage.batch / step_s:,.0f} pictures/s)")
    say(f"time: about {clock(measured.eta_s(config, len(train)))} in all, as busy as this machine is now")
    return json.dumps(config.to_dict(), indent=2)


def sheet(pixels: np.ndarray) -> Image.Image:
    """Pictures uint8 [N, H, W, C] -> one picture, rows of 16, grey between them."""
    count, height, width, channels = pixels.shape
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    canvas = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels), 128, np.uint8)
    for i, picture in enumerate(pixels):
        top, left = GAP + i // columns * (height + GAP), GAP + i % columns * (width + GAP)
        canvas[top : top + height, left : left + width] = picture
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)
