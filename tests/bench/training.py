"""Training speed on this machine: our step against a plain fp32 NCHW loop, each in a process of its own, in turns.

    python -m tests.bench.training [--config fashion] [--stage 1] [--steps 12] [--rounds 3] [--threads 1]

The pictures are noise of the data set's shape: speed does not depend on what they show. Images per CPU second stand beside images
per second: the former holds on a machine that does other things as well.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from twofold.training.config.environment import environment
from twofold.training.config.schema import read
from twofold.training.data.dataset import Pictures
from twofold.training.trainer.batches import batches
from twofold.training.trainer.forward import Batch
from twofold.training.trainer.latents import encode
from twofold.training.trainer.malloc import keep_memory
from twofold.training.trainer.optim import follow
from twofold.training.trainer.step import Health, make_optimizers, set_modes, step
from twofold.training.trainer.trainer import build

VARIANTS = {  # name: (channels last, bf16, memory kept)
    "plain: fp32, NCHW": (False, False, False),
    "fp32, channels last": (True, False, False),
    "bf16, NCHW": (False, True, False),
    "bf16, channels last": (True, True, False),
    "ours: bf16, channels last, memory kept": (True, True, True),
}
WARM = 3


def noise(rows: int, classes: int = 10) -> Pictures:
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(classes, dtype=np.int64), rows // classes)
    return Pictures(rng.integers(0, 256, (len(labels), 28, 28, 1), np.uint8), labels, tuple(map(str, range(classes))), {})


def measure(variant: str, preset: str, stage_index: int, steps: int, profile: bool) -> dict[str, Any]:
    """Run steps of one stage in this process: images/s, images per CPU second, and where the time goes."""
    last, bf16, kept = VARIANTS[variant]
    if kept:
        keep_memory()
    config, pictures = read(preset), noise(2000)
    stage, model = config.stage[stage_index], build(config, pictures)
    if last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = build(config, pictures).requires_grad_(False)
    set_modes(model, stage)
    optimizers = make_optimizers(model, stage)
    health = Health(stage)
    drawn = batches(pictures, stage, (0, stage_index), 0, encode(model, pictures.pixels, pictures.labels))
    nchw = (Batch(b.x if last else b.x.contiguous(), b.label, b.z_s, b.q) for b in drawn)

    def take(number: int) -> None:
        step(model, stage, nchw, optimizers, (0, stage_index, number), health, bf16)
        follow(average, model, stage.ema, number)

    for number in range(WARM):
        take(number)
    elapsed, cpu = time.perf_counter(), time.process_time()
    for number in range(steps):
        take(number)
    elapsed, cpu = time.perf_counter() - elapsed, time.process_time() - cpu
    images = steps * stage.batch
    return {"images_per_s": images / elapsed, "images_per_cpu_s": images / cpu, "profile": _profile(take) if profile else []}


def _profile(take: Any) -> list[tuple[str, float]]:
    """The operators that cost most of three steps, with their share of the CPU time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        for number in range(3):
            take(number)
    events = sorted(seen.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return [(event.key, event.self_cpu_time_total / total) for event in events[:10]]


def _child(variant: str, args: argparse.Namespace, profile: bool) -> dict[str, Any]:
    words = ["--config", args.config, "--stage", str(args.stage), "--steps", str(args.steps), "--threads", str(args.threads)]
    command = [sys.executable, "-m", "tests.bench.training", "--one", variant, *words, *(["--profile"] if profile else [])]
    env = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env=env, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="fashion")
    parser.add_argument("--stage", type=int, default=1, help="from 0")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--profile", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.one:
        print(json.dumps(measure(args.one, args.config, args.stage, args.steps, args.profile)))
        return
    machine = environment(torch.device("cpu"), 1)
    print(f"{machine['processor']}, {machine['cores']} cores, {args.threads} thread(s), torch {machine['packages']['torch']}, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}; {args.config}, stage {args.stage}, median of {args.rounds} rounds of {args.steps} steps\n")
    found: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS}
    for turn in range(args.rounds):
        for variant in VARIANTS:
            found[variant].append(_child(variant, args, profile=turn == 0))
    print("| loop | images/s | images per CPU second | x plain |\n|---|---|---|---|")
    medians = {v: [statistics.median(r[k] for r in rows) for k in ("images_per_s", "images_per_cpu_s")] for v, rows in found.items()}
    plain = medians[next(iter(VARIANTS))][1]
    for variant, (rate, per_cpu) in medians.items():
        print(f"| {variant} | {rate:.0f} | {per_cpu:.0f} | {per_cpu / plain:.2f} |")
    for variant in (next(iter(VARIANTS)), list(VARIANTS)[-1]):
        print(f"\nA step of `{variant}`: " + ", ".join(f"`{name}` {share:.0%}" for name, share in found[variant][0]["profile"]))


if __name__ == "__main__":
    main()
