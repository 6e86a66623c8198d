"""What validation of a model in training warns of, and which line of the configuration to try. Pure; knows no model and no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from twofold.model.posterior import DiagonalGaussian
from twofold.training.config.schema import Config, Stage

MIN_VARIETY = 0.3  # pixel variance of samples within their class, ratio to real
MIN_STYLE_VARIANCE = 0.05  # of a dimension of E_u's mean; below it the style code carries nothing there
WATCH_STEP = 60  # of a stage with `collapse_watch`, at which the style code is measured
MIN_KL, MIN_ALIVE = 3.0, 3  # nats, dimensions; a code with less of either has collapsed
RELIEF = 0.25  # what the weight of kl_* is multiplied by then

# Which validation figure chooses best.pt of a stage: by what the stage trains; the first that fits. (parts, figure, more is better)
CRITERIA = (
    (frozenset({"decoder"}), "psnr_db", True),
    (frozenset({"flow", "encoder_u"}), "leak", False),
    (frozenset({"encoder_s", "prior"}), "class_accuracy", True),
)


def criterion(stage: Stage) -> tuple[str, bool] | None:
    """The figure that decides a stage's best checkpoint, and whether more of it is better; None: the latest is the best."""
    return next(((figure, more) for parts, figure, more in CRITERIA if parts & stage.trained), None)


def collapsed(q: DiagonalGaussian) -> str:
    """What is wrong with the style codes q(e | x) of some pictures, [N, D_u] each, if they tell next to nothing of a picture; else ""."""
    kl = float(q.kl_to_standard().sum(1).mean())
    alive = int((q.mean.var(0) >= MIN_STYLE_VARIANCE).sum())
    if kl >= MIN_KL and alive >= MIN_ALIVE:
        return ""
    return (
        f"the style code has collapsed ({kl:.1f} nats, {alive} of {q.mean.shape[1]} dimensions alive after {WATCH_STEP} steps): "
        f"the weight of kl_sum and kl_mean is multiplied by {RELIEF:g} from now on"
    )


def relieved(stage: Stage) -> Stage:
    """The stage with less weight on the divergence of the style code."""

    def lighter(weights: Mapping[str, float]) -> dict[str, float]:
        return {name: weight * RELIEF if name.startswith("kl_") else weight for name, weight in weights.items()}

    updates = (replace(update, train={part: lighter(weights) for part, weights in update.train.items()}) for update in stage.update)
    return replace(stage, update=tuple(updates))


def warnings(config: Config, stage_index: int, variety: float, style_variance: NDArray[np.float32]) -> dict[str, str]:
    """Sentences by what they warn of, for what the configuration has trained up to this stage (from 0)."""
    found: dict[str, str] = {}
    trained = frozenset[str]().union(*(stage.trained for stage in config.stage[: stage_index + 1]))
    dead = np.flatnonzero(style_variance < MIN_STYLE_VARIANCE)
    if "decoder" in trained and variety < MIN_VARIETY:
        key = _key(config, stage_index, "decoder", ("gen_smp", "gen_swap", "gen_rec"))
        found["variety"] = (
            f"samples of a class hardly differ (pixel variance {variety:.2f} of real, below {MIN_VARIETY}): "
            f"the decoder may have collapsed; try a smaller {key}"
        )
    if "encoder_u" in trained and len(dead):
        key = _key(config, stage_index, "encoder_u", ("kl_sum", "kl_mean", "cka_penalty", "latent_adversary"))
        found["style"] = (
            f"style dimensions {', '.join(map(str, dead))} are dead (variance of the mean below {MIN_STYLE_VARIANCE}): "
            f"try a smaller {key}, or a smaller model.dim_u (now {config.model.dim_u})"
        )
    return found


def _key(config: Config, stage_index: int, part: str, losses: tuple[str, ...]) -> str:
    """The dotted key, as `--set` takes it, of the first of the losses that the latest stage trains the part on; else its rate."""
    latest = max(i for i, stage in enumerate(config.stage[: stage_index + 1]) if part in stage.trained)
    stage = config.stage[latest]
    for loss in losses:
        for number, update in enumerate(stage.update):
            if loss in update.train.get(part, {}):
                return f"stage.{latest}.update.{number}.train.{part}.{loss} (now {update.train[part][loss]:g})"
    return f"stage.{latest}.lr.{part} (now {stage.lr[part]:g})"
