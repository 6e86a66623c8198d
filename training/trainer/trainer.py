"""When to step, log, look, save and stop. Knows time; leaves what a step is to step.py, and what is written where to runfolder.py.

Every draw is a function of (seed, stage, step): the rows of a batch, the augmentation, the noise. So a run that was cut and
resumed from its checkpoint goes on bit for bit like the unbroken one, and no random state has to be saved.

Longer than 250 lines because run, look and resume keep one state.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from twofold.model.vae_gan import SIZES_OF, VaeGan
from twofold.training.config.schema import Config, ConfigError, Stage, from_dict
from twofold.training.data.dataset import Pictures
from twofold.training.trainer import checkpoint, diagnostics
from twofold.training.trainer.batches import DROPOUT, NOISE, batches, seed_of
from twofold.training.trainer.calibration import Codes, act, check_actions, encode
from twofold.training.trainer.distributed import SINGLE_PROCESS, Distributed
from twofold.training.trainer.optim import follow, set_rates
from twofold.training.trainer.run_dir import BEST, LAST, RunFolder, manifest, now
from twofold.training.trainer.step import Batch, check_terms, make_optimizers, set_modes, step
from twofold.training.trainer.validation import picture, validate

VALIDATIONS = 15  # of a stage, at most


class Stopped(Exception):
    """The run was asked to stop; it has saved and can be taken up."""


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


class Trainer:
    """Runs the stages of a configuration over training pictures, in a run folder that can be resumed.

    `report` is called with a dict of figures at every log interval (cli.py prints it as the progress line), `warn` with a
    sentence. Only the first process of a `distributed` calls them, looks and writes; all read the checkpoint, so all need the folder.
    `start` is another run folder: a new run begins after the stages that both configurations have in common.
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
        check_terms(config)
        check_actions(config)
        _check_share(config, distributed)
        self.config, self.train, self.validation, self.path = config, train, validation, folder
        self.report, self.warn, self.distributed, self.start = report, warn, distributed, start
        self.folder = RunFolder(folder) if distributed.first else None
        self.data = manifest(train, validation)
        self.model = build(config, train).to(distributed.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub forgets it
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.stage_index, self.step_index = 0, 0
        self.seconds = self.core_seconds = 0.0  # on the clock, and of this process's processors
        self.clocks = _clocks()  # when they were last read
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.seen: dict[str, float] = {}
        self.best: float | None = None
        self.warned: set[str] = set()  # kinds, in this stage
        self.unlogged: list[str] = []  # warnings
        self.stopping = False  # set from outside: finish the step, save, raise Stopped

    # ---------------------------------------------------------------------------------------------------- the run

    def run(self, save_every_s: float = 60.0, log_every_s: float = 2.0, keep_every: int = 0) -> VaeGan:
        """Train to the end (or on from the checkpoint in the folder) and return the averaged model in evaluation mode.

        `keep_every` N > 0 keeps a checkpoint of every Nth step of the run.
        """
        self._resume()
        self.distributed.any(False)  # nobody steps, and so writes, before all have read
        if self.stage_index == len(self.config.stage):
            return self.average.eval()
        try:
            if self.folder:
                self.folder.describe(self.config, self.data, self.distributed)
                self.folder.open(self.stage_index + 1, self.step_index, self.global_step)
            while self.stage_index < len(self.config.stage):
                self._run_stage(self.config.stage[self.stage_index], save_every_s, log_every_s, keep_every)
                self.stage_index, self.step_index, self.optimizers, self.best = self.stage_index + 1, 0, {}, None
                self._save(stage_file(self.stage_index))
                if self.folder and self.stage_index == len(self.config.stage):
                    self.folder.film()  # before the checkpoint that says the run is over: a run that is killed here makes it again
                self._save(LAST)
        finally:
            if self.folder:
                self.folder.close()
        return self.average.eval()

    def _run_stage(self, stage: Stage, save_every_s: float, log_every_s: float, keep_every: int) -> None:
        total = self.steps(stage)
        if self.step_index == 0:
            self._act(stage.before)
        set_modes(self.model, stage)
        self.optimizers = self.optimizers or make_optimizers(self.model, stage)
        drawn = self._batches(stage, self._codes() if _has_frozen_encoder(stage) else None)
        self.warned, begin, per_validation = set(), self.step_index, self.steps_per_validation(stage)
        started = saved = logged = time.monotonic()
        while self.step_index < total:
            losses = self._step(stage, total, drawn)
            moment = time.monotonic()
            if self.step_index % per_validation == 0 or self.step_index == total:
                self._validate(stage, total)
            if moment - logged >= log_every_s or self.step_index in (1, total):
                self._log(stage, total, (self.step_index - begin) * stage.batch / max(moment - started, 1e-9), losses)
                logged = moment
            stopping = self.distributed.any(self.stopping)
            if moment - saved >= save_every_s or stopping:
                self._save(LAST)
                saved = moment
            if keep_every and self.global_step % keep_every == 0:
                self._save(f"step-{self.global_step:08d}.pt")
            if stopping:
                raise Stopped
        self._settle(stage)

    def _step(self, stage: Stage, total: int, drawn: Iterator[Batch]) -> dict[str, float]:
        place = (self.config.seed, self.stage_index, self.step_index)
        set_rates(self.optimizers, stage, self.step_index / total)
        torch.manual_seed(seed_of(*place, DROPOUT, self.distributed.rank))  # dropout draws from torch's own generator
        generator = torch.Generator(self.distributed.device).manual_seed(seed_of(*place, NOISE))
        losses = step(self.model, stage, drawn, self.optimizers, generator, self.config.precision == "bf16", self.distributed)
        follow(self.average, self.model, stage.ema, self.step_index)
        self.step_index += 1
        return losses

    def _settle(self, stage: Stage) -> None:
        """The averaged weights become the weights; then what is measured on the training codes."""
        if stage.ema:
            self.model.load_state_dict(self.average.state_dict())
        self._act(stage.after)

    def _act(self, actions: tuple[str, ...]) -> None:
        act(self.model, actions, self._codes)
        if actions:
            self.distributed.average([value for value in self.model.state_dict().values() if value.is_floating_point()])
            self.average.load_state_dict(self.model.state_dict())

    def steps(self, stage: Stage) -> int:
        """Steps of a stage: epochs count the pictures of its last update."""
        return math.ceil(stage.epochs * len(self.train) / stage.batch)

    def steps_per_validation(self, stage: Stage) -> int:
        """An epoch, or more where a stage is so long that looks would cost more than they tell."""
        return max(1, len(self.train) // stage.batch, math.ceil(self.steps(stage) / VALIDATIONS))

    @property
    def global_step(self) -> int:
        """Steps taken since the beginning of the first stage."""
        return sum(self.steps(stage) for stage in self.config.stage[: self.stage_index]) + self.step_index

    def _batches(self, stage: Stage, codes: Codes | None) -> Iterator[Batch]:
        return batches(self.train, stage, (self.config.seed, self.stage_index), self.step_index, codes, self.distributed)

    def _codes(self) -> Codes:
        return encode(self.model, self.train.pixels, self.train.labels)

    # ------------------------------------------------------------------------------------------- what is written

    def _validate(self, stage: Stage, total: int) -> None:
        """Figures, a sheet of pictures, warnings, and the checkpoint of the best look of the stage."""
        if not self.folder:
            return
        seen = validate(self.average, self.validation)
        self.seen = seen.figures
        self.folder.validate(picture(self.average, self.validation), self.stage_index + 1, self.step_index)
        judged = diagnostics.criterion(stage)
        score = self.seen[judged[0]] * (1 if judged[1] else -1) if judged else 0.0
        if self.best is None or score > self.best or not judged:
            self.best = score
            self._save(BEST)
        if 2 * self.step_index < total:  # what is young is poor
            return
        for kind, text in diagnostics.warnings(self.config, self.stage_index, self.seen["variety"], seen.style_variance).items():
            if kind not in self.warned:
                self.warned.add(kind)
                self.unlogged.append(text)
                self.warn(text)

    def _log(self, stage: Stage, total: int, rate: float, losses: dict[str, float]) -> None:
        if not self.folder:
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
            **{f"loss_{k}": round(v, 5) for k, v in losses.items()},
            **self.seen,
            **({"warnings": self.unlogged} if self.unlogged else {}),
        }
        self.unlogged = []
        self.folder.log(figures, self.global_step)
        self.report(figures)

    def _save(self, name: str) -> None:
        if not self.folder:
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
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": {part: optimizer.state_dict() for part, optimizer in self.optimizers.items()},
        }
        checkpoint.save(self.path / name, state)

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
        self._take_clocks(state)
        if state["optimizers"]:
            self.optimizers = make_optimizers(self.model, self.config.stage[self.stage_index])
            for part, values in state["optimizers"].items():
                self.optimizers[part].load_state_dict(values)

    def _begin_after(self, other: Path) -> None:
        """Take over what the stages that another run's configuration shares with this one have trained there.

        Parts that those stages do not move are as this configuration builds them, so their sizes may differ.
        """
        theirs = from_dict(json.loads(checkpoint.load(other / LAST)["config"]))
        done = shared_stages(self.config, theirs)
        if not done:
            raise ConfigError("the two configurations have no first stage in common (seed, data, precision and sizes count too)")
        state = checkpoint.load(other / stage_file(done))
        if json.loads(state["data"]) != self.data["sha256"]:
            raise checkpoint.CheckpointError("the other run was trained on other pictures than these")
        moved = frozenset[str]().union(*(stage.trained for stage in self.config.stage[:done]))
        for name, part in self.model.named_children():
            if name in moved or name == "fitted":
                part.load_state_dict({k.removeprefix(f"{name}."): v for k, v in state["average"].items() if k.startswith(f"{name}.")})
        self.average.load_state_dict(self.model.state_dict())
        self.stage_index = done
        self._take_clocks(state)
        if self.folder and done == len(self.config.stage):  # nothing is left to train, so nothing else would write
            self.folder.describe(self.config, self.data, self.distributed)
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


def _has_frozen_encoder(stage: Stage) -> bool:
    """Whether the codes of some encoder can be computed once for the stage: it does not move and sees plain pictures."""
    return not {"encoder_s", "encoder_u"} <= stage.trained and not stage.augments


def _check_share(config: Config, distributed: Distributed) -> None:
    for stage in config.stage:
        if stage.batch % distributed.size or stage.batch // distributed.size < 2:
            raise ConfigError(
                f"stage {stage.name!r}: batch must be a multiple of the {distributed.size} processes, at least 2 rows for each"
            )
