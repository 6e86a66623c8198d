"""When to step, log, validate, save and stop. Knows time; leaves what a step is to step.py, and what is written where to run_dir.py.

    for each stage:
        actions `before` on the training codes
        for each step:  step(model);  average <- EMA(average, model)
        model <- average
        actions `after` on the training codes

Every draw is a function of (seed, stage, step, purpose): the rows of a batch, the augmentation, the noise. So a run that was cut and
resumed from its checkpoint goes on bit for bit like the unbroken one, and no random state has to be saved.

The host runs ahead of the device. It waits only at the steps where something is logged, validated or saved, and there it looks first
whether all losses and weights were finite (`_check_finite`): a diverged run never reaches a file.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twofold.model.vae_gan import SIZES_OF, VaeGan
from twofold.training.config.environment import environment
from twofold.training.config.schema import Config, ConfigError, Stage, from_dict
from twofold.training.data.dataset import Pictures
from twofold.training.data.provenance import manifest
from twofold.training.trainer import checkpoint, diagnostics, preflight
from twofold.training.trainer.batches import batches, prefetched
from twofold.training.trainer.calibration import act
from twofold.training.trainer.distributed import SINGLE_PROCESS, Distributed
from twofold.training.trainer.forward import Batch
from twofold.training.trainer.latents import Codes, encode
from twofold.training.trainer.optim import follow, set_rates
from twofold.training.trainer.run_dir import BEST, LAST, RunDir, now
from twofold.training.trainer.step import Diverged, Health, make_optimizers, set_modes, step
from twofold.training.trainer.validation import picture, validate

VALIDATIONS = 15  # of a stage, at most
WATCHED = 256  # held-out pictures that a style code is measured on early
VOTE_EVERY = 10  # steps of several processes between two votes on whether to stop, log or save


class Stopped(Exception):
    """The run was asked to stop; it has saved and can be resumed."""


def build(config: Config, pictures: Pictures) -> VaeGan:
    """The untrained model of a configuration for pictures of this size; the same parameters for the same seed.

    Raises ConfigError when the widths of the configuration are not for pictures of this size.
    """
    torch.manual_seed(config.seed)
    height, width, channels = pictures.pixels.shape[1:]
    try:
        return VaeGan(config.model, torch.from_numpy(pictures.class_weights), channels, height, width)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error


@dataclass(frozen=True)
class Intervals:
    """How often a run saves and logs, in seconds, and keeps a checkpoint, in steps (0: never)."""

    save_s: float
    log_s: float
    keep: int


class Trainer:
    """Runs the stages of a configuration over training pictures, in a run folder that can be resumed.

    `report` is called with a dict of figures at every log interval (cli.py prints it as the progress line), `warn` with a sentence. Only
    the first process of a `distributed` calls them, validates and writes; all read the checkpoint, so all need the folder. `start` is
    another run folder: a new run begins after the stages that both configurations have in common. Raises ConfigError.
    """

    def __init__(
        self,
        config: Config,
        train: Pictures,
        validation: Pictures,
        folder: Path,
        report: Callable[[dict[str, Any]], None],
        warn: Callable[[str], None] = lambda text: None,
        distributed: Distributed = SINGLE_PROCESS,
        start: Path | None = None,
    ) -> None:
        preflight.check(config, distributed)
        self.config, self.train, self.validation, self.path = config, train, validation, folder
        self.report, self.warn, self.distributed, self.start = report, warn, distributed, start
        self.run_dir = RunDir(folder) if distributed.first else None
        self.data = manifest(train, validation)
        self.model = build(config, train).to(distributed.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub forgets it
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.stage_index, self.step_index = 0, 0
        self.seconds = self.core_seconds = 0.0  # on the clock, and of this process's processors
        self.clocks = _clocks()  # when they were last read
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.health: Health | None = None
        self.figures: dict[str, float] = {}  # of the last validation
        self.best: float | None = None
        self.relieved = False  # whether the style code of this stage had collapsed, and less is asked of it since
        self.warned: set[str] = set()  # kinds, in this stage
        self.unlogged: list[str] = []  # warnings
        self.stopping = False  # set from outside: finish the step, save, raise Stopped

    # ---------------------------------------------------------------------------------------------------- the run

    def run(self, save_every_s: float = 60.0, log_every_s: float = 2.0, keep_every: int = 0) -> VaeGan:
        """Train to the end (or on from the checkpoint in the folder) and return the averaged model in evaluation mode.

        `keep_every` N > 0 keeps a checkpoint of every Nth step of the run. Raises Stopped, Diverged, CheckpointError.
        """
        self._resume()
        self.distributed.any(False)  # nobody steps, and so writes, before all have read
        if self.stage_index == len(self.config.stage):
            return self.average.eval()
        try:
            if self.run_dir:
                self._describe(self.run_dir)
                self.run_dir.open(self.stage_index + 1, self.step_index, self.global_step)
            while self.stage_index < len(self.config.stage):
                self._run_stage(self.config.stage[self.stage_index], Intervals(save_every_s, log_every_s, keep_every))
                self.stage_index, self.step_index, self.optimizers, self.best = self.stage_index + 1, 0, {}, None
                self.relieved = False
                self._save(stage_file(self.stage_index))
                if self.run_dir and self.stage_index == len(self.config.stage):
                    self.run_dir.film()  # before the checkpoint that says the run is over: a run that is killed here makes it again
                self._save(LAST)
        finally:
            if self.run_dir:
                self.run_dir.close()
        return self.average.eval()

    def _run_stage(self, stage: Stage, every: Intervals) -> None:
        total = self.steps(stage)
        if self.step_index == 0:
            self._act(stage.before)
        stage = diagnostics.relieved(stage) if self.relieved else stage
        set_modes(self.model, stage)
        self.optimizers = self.optimizers or make_optimizers(self.model, stage)
        self.health, self.warned = Health(stage), set()
        drawn = self._batches(stage, self._codes() if stage.reuses_codes else None)
        begin, validated_every = self.step_index, self.steps_per_validation(stage)
        started = saved = logged = time.monotonic()
        while self.step_index < total:
            losses = self._step(stage, total, drawn)
            if stage.collapse_watch and self.step_index == diagnostics.WATCH_STEP:
                stage = self._watch(stage)
            moment = time.monotonic()
            validating = self.step_index % validated_every == 0 or self.step_index == total
            keeping = every.keep > 0 and self.global_step % every.keep == 0
            certain = validating or keeping or self.step_index == 1  # the same in every process
            if not (certain or self._votes() or self._alone_and_due(moment - logged >= every.log_s or moment - saved >= every.save_s)):
                continue
            self._check_finite()
            if validating:
                self._validate(stage, total)
            if moment - logged >= every.log_s or self.step_index in (1, total):
                self._log(stage, total, (self.step_index - begin) * stage.batch / max(moment - started, 1e-9), losses)
                logged = moment
            stopping = self.distributed.any(self.stopping)
            if moment - saved >= every.save_s or stopping:
                self._save(LAST)
                saved = moment
            if keeping:
                self._save(f"step-{self.global_step:08d}.pt")
            if stopping:
                raise Stopped
        self._end_stage(stage)

    def _watch(self, stage: Stage) -> Stage:
        """The stage as it goes on: with less weight on the divergence of a style code that has collapsed."""
        held = self.validation.take(np.unique(np.linspace(0, len(self.validation) - 1, WATCHED).astype(int)))
        text = diagnostics.collapsed(encode(self.model, held.pixels, held.labels).q)
        if not self.distributed.any(bool(text)):
            return stage
        self._say(text)
        self.relieved = True
        return diagnostics.relieved(stage)

    def _votes(self) -> bool:
        """Whether all processes are due to agree on whether to stop: one process alone need not wait for others."""
        return self.distributed.size > 1 and self.step_index % VOTE_EVERY == 0

    def _alone_and_due(self, due: bool) -> bool:
        """What one process may decide by its own clock; several must all wait at the same steps."""
        return self.distributed.size == 1 and (due or self.stopping)

    def _step(self, stage: Stage, total: int, drawn: Iterator[Batch]) -> dict[str, Tensor]:
        assert self.health is not None
        place = (self.config.seed, self.stage_index, self.step_index)
        # eta_p(t)
        set_rates(self.optimizers, stage, self.step_index / total)
        # theta <- step(theta)
        bf16 = self.config.precision == "bf16"
        losses = step(self.model, stage, drawn, self.optimizers, place, self.health, bf16, self.distributed)
        # average <- EMA of theta
        follow(self.average, self.model, stage.ema, self.step_index)
        self.step_index += 1
        return losses

    def _check_finite(self) -> None:
        """Wait for the device. Raises Diverged where a loss or a weight is not finite: in every process at the same step."""
        assert self.health is not None
        self.health.check()
        stage = self.config.stage[self.stage_index]
        for part in sorted(stage.trained):
            parameters = [parameter.detach() for parameter in getattr(self.model, part).parameters()]
            # one number that is finite where all are: no wait for every tensor
            if not bool(torch.stack([p.isfinite().all() for p in parameters]).all()):
                rate = f"lr.{part} (now {stage.lr[part]:g})"
                raise Diverged(f'a weight of {part} is not finite in stage {stage.name!r}: try a smaller {rate}, or precision = "fp32"')

    def _end_stage(self, stage: Stage) -> None:
        """The averaged weights become the weights; then what is measured on the training codes."""
        if stage.ema:
            self.model.load_state_dict(self.average.state_dict())
        self._act(stage.after)

    def _act(self, actions: tuple[str, ...]) -> None:
        for text in act(self.model, actions, self._codes):
            self._say(text)
        if actions:
            self.distributed.average([value for value in self.model.state_dict().values() if value.is_floating_point()])
            self.average.load_state_dict(self.model.state_dict())

    def steps(self, stage: Stage) -> int:
        """Steps of a stage: epochs count the pictures of its last update."""
        return math.ceil(stage.epochs * len(self.train) / stage.batch)

    def steps_per_validation(self, stage: Stage) -> int:
        """An epoch, or more where a stage is so long that validation would cost more than it tells."""
        return max(1, len(self.train) // stage.batch, math.ceil(self.steps(stage) / VALIDATIONS))

    @property
    def global_step(self) -> int:
        """Steps taken since the beginning of the first stage."""
        return sum(self.steps(stage) for stage in self.config.stage[: self.stage_index]) + self.step_index

    def _batches(self, stage: Stage, codes: Codes | None) -> Iterator[Batch]:
        drawn = batches(self.train, stage, (self.config.seed, self.stage_index), self.step_index, codes, self.distributed)
        return prefetched(drawn) if self.distributed.device.type == "cuda" else drawn

    def _codes(self) -> Codes:
        return encode(self.model, self.train.pixels, self.train.labels)

    # ------------------------------------------------------------------------------------------- what is written

    def _validate(self, stage: Stage, total: int) -> None:
        """Figures, a sheet of pictures, warnings, and the checkpoint of the best validation of the stage."""
        if not self.run_dir:
            return
        result = validate(self.average, self.validation)
        self.figures = result.figures
        self.run_dir.save_sheet(picture(self.average, self.validation), self.stage_index + 1, self.step_index)
        chosen_by = diagnostics.criterion(stage)
        score = self.figures[chosen_by[0]] * (1 if chosen_by[1] else -1) if chosen_by else 0.0
        if self.best is None or score > self.best or not chosen_by:
            self.best = score
            self._save(BEST)
        if 2 * self.step_index < total:  # too early to warn
            return
        for kind, text in diagnostics.warnings(self.config, self.stage_index, self.figures["variety"], result.style_variance).items():
            if kind not in self.warned:
                self.warned.add(kind)
                self._say(text)

    def _say(self, text: str) -> None:
        """A sentence for the console and for the log, from the first process alone."""
        if self.run_dir:
            self.unlogged.append(text)
            self.warn(text)

    def _log(self, stage: Stage, total: int, rate: float, losses: dict[str, Tensor]) -> None:
        if not self.run_dir:
            return
        figures = {
            "time": now(),
            "stage": stage.name,
            "stage_number": self.stage_index + 1,
            "stages": len(self.config.stage),
            "step": self.step_index,
            "steps": total,
            "images_per_s": round(rate, 1),
            "eta_s": round((total - self.step_index) * stage.batch / max(rate, 1e-9)),
            **{f"loss_{name}": round(value.item(), 5) for name, value in losses.items()},
            **self.figures,
            **({"warnings": self.unlogged} if self.unlogged else {}),
        }
        self.unlogged = []
        self.run_dir.log(figures, self.global_step)
        self.report(figures)

    def _save(self, name: str) -> None:
        if not self.run_dir:
            return
        self._count()
        state = {
            "config": json.dumps(self.config.to_dict()),
            "data": json.dumps(self.data["sha256"]),
            "stage": self.stage_index,
            "step": self.step_index,
            "seconds": self.seconds,
            "core_seconds": self.core_seconds,
            "best": self.best,
            "relieved": self.relieved,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": {part: optimizer.state_dict() for part, optimizer in self.optimizers.items()},
        }
        checkpoint.save(self.path / name, state)

    def _describe(self, run_dir: RunDir) -> None:
        made_with = environment(self.distributed.device, self.distributed.size)
        run_dir.describe(self.config.to_dict(), made_with, self.data)

    def _count(self) -> None:
        """Add what has passed since the clocks were last read."""
        before, self.clocks = self.clocks, _clocks()
        self.seconds += self.clocks[0] - before[0]
        self.core_seconds += self.clocks[1] - before[1]

    def _take_clocks(self, state: Mapping[str, Any]) -> None:
        """Go on counting from a checkpoint (one from before cores were counted says nothing of them)."""
        self.seconds, self.core_seconds = state["seconds"], state.get("core_seconds", 0.0)
        self.clocks = _clocks()

    def _resume(self) -> None:
        path = self.path / LAST
        if not path.exists():
            if self.start:
                self._begin_after(self.start)
            return
        state = checkpoint.load(path)
        if from_dict(json.loads(state["config"])) != self.config:
            raise checkpoint.CheckpointError("the run folder holds a checkpoint of another configuration: give another folder")
        if json.loads(state["data"]) != self.data["sha256"]:
            raise checkpoint.CheckpointError("the run folder holds a checkpoint of other pictures: give their data set, or another folder")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.stage_index, self.step_index, self.best = state["stage"], state["step"], state["best"]
        self.relieved = state.get("relieved", False)
        self._take_clocks(state)
        if state["optimizers"]:
            self.optimizers = make_optimizers(self.model, self.config.stage[self.stage_index])
            for part, values in state["optimizers"].items():
                self.optimizers[part].load_state_dict(values)

    def _begin_after(self, other: Path) -> None:
        """Take over what the stages that another run's configuration shares with this one have trained there.

        Parts that those stages do not train are as this configuration builds them, so their sizes may differ.
        """
        theirs = from_dict(json.loads(checkpoint.load(other / LAST)["config"]))
        done = shared_stages(self.config, theirs)
        if not done:
            raise ConfigError("the two configurations have no first stage in common (seed, data, precision and sizes count too)")
        state = checkpoint.load(other / stage_file(done))
        if json.loads(state["data"]) != self.data["sha256"]:
            raise checkpoint.CheckpointError("the other run was trained on other pictures than these")
        trained = frozenset[str]().union(*(stage.trained for stage in self.config.stage[:done]))
        for name, part in self.model.named_children():
            if name in trained or name == "fitted":
                part.load_state_dict({k.removeprefix(f"{name}."): v for k, v in state["average"].items() if k.startswith(f"{name}.")})
        self.average.load_state_dict(self.model.state_dict())
        self.stage_index = done
        self._take_clocks(state)
        if self.run_dir and done == len(self.config.stage):  # nothing is left to train, so nothing else would write
            self._describe(self.run_dir)
            self._save(LAST)


def _clocks() -> tuple[float, float]:
    """Seconds on the clock, and of this process's processors."""
    return time.monotonic(), time.process_time()


def stage_file(done: int) -> str:
    """The checkpoint from the end of the stage that was number `done`, counted from 1."""
    return f"stage-{done}.pt"


def shared_stages(config: Config, other: Config) -> int:
    """How many stages two configurations begin with in common: the same losses on parts of the same sizes, seed and pictures."""
    if (config.seed, config.precision, config.data) != (other.seed, other.precision, other.data):
        return 0
    shared = 0
    for mine, theirs in zip(config.stage, other.stage, strict=False):
        sizes = {key for part in mine.trained for key in SIZES_OF[part]}
        if mine != theirs or any(getattr(config.model, key) != getattr(other.model, key) for key in sizes):
            break
        shared += 1
    return shared
