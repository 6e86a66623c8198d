"""When to step, log, look, save and stop. Knows time and files; leaves what a step is to step.py.

Every draw is a function of (seed, stage, step): the rows of a batch, the augmentation, the noise. So a run that was cut and
resumed from its checkpoint goes on bit for bit like the unbroken one, and no random state has to be saved.

Longer than 250 lines because run, look and resume keep one state.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.posterior import DiagonalGaussian
from model.vae_gan import VaeGan
from training import checkpoint
from training.codes import ACTIONS, Codes, check_actions, encode, to_tensor
from training.config import Config, Stage
from training.data import Pictures
from training.look import look
from training.step import Batch, check_terms, make_optimizers, set_modes, step

LAST = "last.pt"


class Stopped(Exception):
    """The run was asked to stop; it has saved and can be taken up."""


def build(config: Config, pictures: Pictures) -> VaeGan:
    """The untrained model of a configuration for pictures of this size; the same parameters for the same seed."""
    torch.manual_seed(config.seed)
    height, width, channels = pictures.pixels.shape[1:]
    return VaeGan(config.model, torch.from_numpy(pictures.class_weights), channels, height, width)


class Trainer:
    """Runs the stages of a configuration over training pictures, in a run folder that can be resumed.

    `report` is called with a dict of figures at every log interval (cli.py prints it as the progress line).
    """

    def __init__(
        self, config: Config, train: Pictures, validation: Pictures, folder: Path, report: Callable[[dict[str, Any]], None]
    ) -> None:
        check_terms(config)
        check_actions(config)
        self.config, self.train, self.validation, self.folder, self.report = config, train, validation, folder, report
        self.model = build(config, train)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub forgets it
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.stage_index, self.step_index, self.seconds = 0, 0, 0.0
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.seen: dict[str, float] = {}
        self.stopping = False  # set from outside: finish the step, save, raise Stopped

    # ---------------------------------------------------------------------------------------------------- the run

    def run(self, save_every_s: float = 60.0, log_every_s: float = 2.0) -> VaeGan:
        """Train to the end (or on from the checkpoint in the folder) and return the averaged model in evaluation mode."""
        self._resume()
        while self.stage_index < len(self.config.stage):
            self._run_stage(self.config.stage[self.stage_index], save_every_s, log_every_s)
            self.stage_index, self.step_index, self.optimizers = self.stage_index + 1, 0, {}
            self._save()
        return self.average.eval()

    def _run_stage(self, stage: Stage, save_every_s: float, log_every_s: float) -> None:
        total = self.steps(stage)
        if self.step_index == 0:
            self._act(stage.before)
        set_modes(self.model, stage)
        self.optimizers = self.optimizers or make_optimizers(self.model, stage)
        codes = self._cached_codes() if _has_frozen_encoder(stage) else None
        batches = self._batches(stage, codes)
        bf16 = self.config.precision == "bf16"
        started, saved, logged, begin = time.monotonic(), time.monotonic(), time.monotonic(), self.step_index
        per_look = max(1, min(total, len(self.train) // stage.batch))
        while self.step_index < total:
            self._set_rate(stage, self.step_index / total)
            generator = torch.Generator().manual_seed(self._seed(3))
            losses = step(self.model, stage, batches, self.optimizers, generator, bf16)
            self._average(stage.ema)
            self.step_index += 1
            now = time.monotonic()
            if self.step_index % per_look == 0 or self.step_index == total:
                self.seen = look(self.average, self.validation)
            if now - logged >= log_every_s or self.step_index in (1, total):
                rate = (self.step_index - begin) * stage.batch / max(now - started, 1e-9)
                self._log(stage, total, rate, losses)
                logged = now
            if now - saved >= save_every_s or self.stopping:
                self.seconds += now - saved
                self._save()
                saved = now
            if self.stopping:
                raise Stopped
        self.seconds += time.monotonic() - saved
        self._settle(stage)

    def _settle(self, stage: Stage) -> None:
        """The averaged weights become the weights; then what is measured on the training codes."""
        if stage.ema:
            self.model.load_state_dict(self.average.state_dict())
        self._act(stage.after)

    def _act(self, actions: tuple[str, ...]) -> None:
        if actions:
            codes = self._cached_codes()
            for action in actions:
                ACTIONS[action](self.model, codes)
            self.average.load_state_dict(self.model.state_dict())

    def steps(self, stage: Stage) -> int:
        """Steps of a stage: epochs count the pictures of its last update."""
        return math.ceil(stage.epochs * len(self.train) / stage.batch)

    # ---------------------------------------------------------------------------------------------------- batches

    def _seed(self, purpose: int) -> int:
        entropy = (self.config.seed, self.stage_index, self.step_index, purpose)
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)

    def _batches(self, stage: Stage, codes: Codes | None) -> Iterator[Batch]:
        """Batches from the current step on; the rows of draw d are a function of (seed, stage, d)."""
        draw = self.step_index * stage.batches_per_step
        epoch, order = -1, np.empty((0, stage.batch), np.int64)
        while True:
            if not len(order) or draw // len(order) != epoch:
                per_epoch = max(1, len(self.train) // stage.batch)
                epoch = draw // per_epoch
                order = self._epoch_rows(stage, epoch)
            rows = order[draw % len(order)]
            draw += 1
            yield self._batch(stage, rows, codes)

    def _epoch_rows(self, stage: Stage, epoch: int) -> np.ndarray:
        """Row indices of all batches of an epoch: [batches, B]."""
        rng = np.random.default_rng((self.config.seed, self.stage_index, epoch))
        labels, per_epoch = self.train.labels, max(1, len(self.train) // stage.batch)
        if not stage.pictures_per_class:
            return np.resize(rng.permutation(len(labels)), (per_epoch, stage.batch))
        by_class = [np.flatnonzero(labels == k) for k in range(len(self.train.class_names))]
        groups = max(1, stage.batch // stage.pictures_per_class)
        chosen = np.stack([rng.permutation(np.resize(rng.permutation(len(by_class)), groups)) for _ in range(per_epoch)])
        return np.stack([np.concatenate([rng.choice(by_class[k], stage.pictures_per_class) for k in row]) for row in chosen])

    def _batch(self, stage: Stage, rows: np.ndarray, codes: Codes | None) -> Batch:
        x = to_tensor(self.train.pixels[rows])
        if stage.flip or stage.shift:
            x = augment(x, stage, np.random.default_rng(self._seed(2)))
        label = torch.from_numpy(self.train.labels[rows])
        if codes is None:
            return Batch(x, label)
        index = torch.from_numpy(rows)
        z_s = None if stage.moved & {"encoder_s"} else codes.z_s[index]
        q = None if "encoder_u" in stage.moved else DiagonalGaussian(codes.q.mean[index], codes.q.log_var[index])
        return Batch(x, label, z_s, q)

    def _cached_codes(self) -> Codes:
        return encode(self.model, self.train.pixels, self.train.labels)

    # -------------------------------------------------------------------------------------- averages, rates, files

    def _average(self, decay: float) -> None:
        """Exponential average of parameters and BatchNorm buffers; without a decay a plain copy."""
        with torch.no_grad():
            for mean, value in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
                if decay and mean.is_floating_point():
                    mean.lerp_(value, 1 - min(decay, (self.step_index + 1) / (self.step_index + 10)))
                else:
                    mean.copy_(value)

    def _set_rate(self, stage: Stage, done: float) -> None:
        factor = {
            "constant": lambda: 1.0,
            "cosine": lambda: 0.5 * (1 + math.cos(math.pi * done)),
            "one-cycle": lambda: 0.04 + 0.96 * done / 0.25 if done < 0.25 else 0.5 * (1 + math.cos(math.pi * (done - 0.25) / 0.75)),
        }[stage.schedule]()
        for part, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = stage.lr[part] * factor

    def _log(self, stage: Stage, total: int, rate: float, losses: dict[str, float]) -> None:
        figures = {
            "stage": stage.name,
            "stage_number": self.stage_index + 1,
            "stages": len(self.config.stage),
            "step": self.step_index,
            "steps": total,
            "images_per_s": round(rate, 1),
            "eta_s": round((total - self.step_index) * stage.batch / max(rate, 1e-9)),
            **{f"loss_{k}": round(v, 5) for k, v in losses.items()},
            **self.seen,
        }
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(figures) + "\n")
        self.report(figures)

    def _save(self) -> None:
        checkpoint.save(
            self.folder / LAST,
            {
                "config": json.dumps(self.config.to_dict()),
                "stage": self.stage_index,
                "step": self.step_index,
                "seconds": self.seconds,
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimizers": {part: optimizer.state_dict() for part, optimizer in self.optimizers.items()},
            },
        )

    def _resume(self) -> None:
        path = self.folder / LAST
        if not path.exists():
            return
        state = checkpoint.load(path)
        if json.loads(state["config"]) != json.loads(json.dumps(self.config.to_dict())):
            raise checkpoint.CheckpointError("the run folder holds a checkpoint of another configuration: give another folder")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.stage_index, self.step_index, self.seconds = state["stage"], state["step"], state["seconds"]
        if state["optimizers"]:
            self.optimizers = make_optimizers(self.model, self.config.stage[self.stage_index])
            for part, values in state["optimizers"].items():
                self.optimizers[part].load_state_dict(values)


def _has_frozen_encoder(stage: Stage) -> bool:
    """Whether the codes of some encoder can be computed once for the stage: it does not move and sees plain pictures."""
    return not {"encoder_s", "encoder_u"} <= stage.moved and not (stage.flip or stage.shift)


def augment(x: Tensor, stage: Stage, rng: np.random.Generator) -> Tensor:
    """Mirror half of the pictures and move each by up to `shift` pixels; borders repeat. x [B, C, H, W]."""
    if stage.flip:
        mirror = torch.from_numpy(rng.random(len(x)) < 0.5)
        x = torch.where(mirror[:, None, None, None], x.flip(3), x)
    if stage.shift:
        height, width = x.shape[2:]
        padded = torch.nn.functional.pad(x, (stage.shift,) * 4, mode="replicate")
        dy, dx = (torch.from_numpy(rng.integers(0, 2 * stage.shift + 1, len(x))) for _ in range(2))
        rows = dy[:, None] + torch.arange(height)
        columns = dx[:, None] + torch.arange(width)
        x = padded[torch.arange(len(x))[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return x
