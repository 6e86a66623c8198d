"""What a run leaves beside its checkpoints: who made it, from what, and how it went. Only the first process of a run has one.

    config.json       the configuration, every default written out
    environment.json  versions, machine, device, threads, git revision
    data.json         the pictures: where from, how many of each class, SHA-256 over their pixels and labels
    log.jsonl         a line per log interval: time (UTC), stage, step, images/s, losses, the last look; warnings
    scalars/          the same for TensorBoard
    looks/            a sheet of samples, swaps and reconstructions per look (fixed codes); film.webp of them when the run ends
    last.pt           where the run goes on; best.pt: the best look of the stage by watch.criterion;
                      stage-N.pt: the end of each stage; step-NNNNNNNN.pt: every Nth step

Knows files; knows nothing of models and of when anything is written.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from twofold.model.contract import Pixels
from twofold.training.config.schema import Config
from twofold.training.data.dataset import Pictures
from twofold.training.trainer.checkpoint import CheckpointError
from twofold.training.trainer.distributed import Distributed

CONFIG, ENVIRONMENT, DATA, LOG = "config.json", "environment.json", "data.json", "log.jsonl"
LAST, BEST, SCALARS, VALIDATIONS, FILM = "last.pt", "best.pt", "scalars", "looks", "film.webp"
FRAME_MS, LAST_FRAME_MS = 250, 2000
PACKAGES = ("twofold", "torch", "numpy", "pillow", "datasets")


class RunFolder:
    """The folder of one run. Its methods raise CheckpointError where a file cannot be written: the checkpoints stay whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _writing(LOG):
            (path / VALIDATIONS).mkdir(parents=True, exist_ok=True)
        self.scalars: Any = None

    def describe(self, config: Config, data: dict[str, Any], distributed: Distributed) -> None:
        """Write who, from what and where: config.json, environment.json, data.json."""
        for name, facts in ((CONFIG, config.to_dict()), (ENVIRONMENT, environment(distributed)), (DATA, data)):
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
            beside = log.with_name(LOG + ".part")
            beside.write_text("".join(kept), encoding="utf-8")
            beside.replace(log)
        from torch.utils.tensorboard import SummaryWriter  # costs a second: only where something is written

        with _writing(SCALARS):
            self.scalars = SummaryWriter(str(self.path / SCALARS), purge_step=global_step + 1)

    def log(self, facts: Mapping[str, Any], global_step: int) -> None:
        """Append a line; numbers of losses, looks and speed go to TensorBoard too."""
        with _writing(LOG), (self.path / LOG).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(facts) + "\n")
        with _writing(SCALARS):
            for name, value in facts.items():
                if isinstance(value, float):
                    self.scalars.add_scalar(name.replace("loss_", "loss/", 1), value, global_step)

    def validate(self, sheet: Pixels, stage_number: int, step: int) -> None:
        """Write a sheet uint8 [H, W, C] as looks/<stage>-<step>.png."""
        with _writing(VALIDATIONS):
            Image.fromarray(sheet[..., 0] if sheet.shape[2] == 1 else sheet).save(
                self.path / VALIDATIONS / f"{stage_number:02d}-{step:07d}.png"
            )

    def film(self) -> None:
        """Join the sheets into film.webp, in their order; the last one stays longer."""
        files = sorted((self.path / VALIDATIONS).glob("*.png"))
        if files:
            first, *rest = (Image.open(file).convert("RGB") for file in files)
            with _writing(FILM):
                durations = [FRAME_MS] * len(rest) + [LAST_FRAME_MS]
                first.save(self.path / FILM, save_all=True, append_images=rest, duration=durations if rest else LAST_FRAME_MS, loop=0)

    def close(self) -> None:
        if self.scalars is not None:
            with _writing(SCALARS):
                self.scalars.close()
            self.scalars = None


def manifest(train: Pictures, validation: Pictures) -> dict[str, Any]:
    """What the pictures of a run are: their source, counts, and SHA-256 over pixels, labels and class names."""
    return {
        **train.source,
        "classes": len(train.class_names),
        "train_rows": len(train),
        "validation_rows": len(validation),
        "shape": list(train.pixels.shape[1:]),
        "rows_per_class": dict(zip(train.class_names, np.bincount(train.labels, minlength=len(train.class_names)).tolist(), strict=True)),
        "sha256": {"train": digest(train), "validation": digest(validation)},
    }


def digest(pictures: Pictures) -> str:
    """SHA-256 over the shape, the pixels, the labels and the class names, in their order."""
    found = hashlib.sha256(json.dumps([pictures.pixels.shape, pictures.class_names]).encode())
    found.update(np.ascontiguousarray(pictures.pixels).data)
    found.update(np.ascontiguousarray(pictures.labels, dtype="<i8").data)
    return found.hexdigest()


def environment(distributed: Distributed) -> dict[str, Any]:
    """Versions and machine, without anything that names a person, a host or a path."""
    gpu = distributed.device.type == "cuda"
    return {
        "python": platform.python_version(),
        "packages": dict(_versions()),
        "revision": revision(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": distributed.size,
        "device": torch.cuda.get_device_name(distributed.device) if gpu else "cpu",
        "cuda": torch.version.cuda if gpu else None,
    }


def revision() -> str:
    """Short git revision of the working folder, with a plus sign when it has changes; "unknown" outside a repository."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def now() -> str:
    """The time in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or sys.platform


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
