"""What made pictures are worth: the test accuracy of a small classifier that has 50 real pictures per class, and others made of them.

    python -m tests.bench.study --data data/fashion_mnist --out runs/study [--seeds 3] [--steps 400] [--control-seeds 1]

Every arm has the same network, the same number of steps and pictures per step, and the same rates. Where there are made pictures,
half of each batch is made. They come from the commands themselves (`twofold synthesize`, `twofold augment`). A seed decides which
rows are real, the first weights, the batches and the made pictures. The control makes its pictures with a model that was trained on
the same real pictures and nothing else. Each finished arm is kept in OUT/study-STEPS.json, and a run that was stopped goes on after it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from twofold.service.cli import main as cli
from twofold.service.runtime import image_io
from twofold.training import cli as training_cli
from twofold.training.data.dataset import Pictures, load

PER_CLASS, BATCH, PEAK_RATE = 50, 64, 3e-3
PER_PICTURE, SYNTHESIZED = 20, 1000  # of both the same number: 10,000 of ten classes
SHIFT_PX, TURN_DEG = 2, 10
CONTROL = [  # the fashion preset for 500 pictures: more epochs of fewer steps
    part
    for setting in (
        "data.validation_rows=50",
        "stage.0.epochs=40",
        "stage.1.epochs=45",
        "stage.2.epochs=120",
        "stage.2.batch=128",
        "stage.3.epochs=20",
    )
    for part in ("--set", setting)
]


@dataclass(frozen=True)
class Arm:
    """What a classifier sees beside the real pictures. `made` names a set; `control`: by the model that knows only the real ones."""

    title: str
    classical: bool = False
    made: str = ""
    control: bool = False


ARMS = (
    Arm("(a) nothing"),
    Arm("(b) classical", classical=True),
    Arm("(c) augment, spread 0.5", made="augment-0.5"),
    Arm("(c) augment, spread 1", made="augment-1"),
    Arm("(d) synthesize", made="synthesize"),
    Arm("(e) classical + augment, spread 0.5", classical=True, made="augment-0.5"),
    Arm("(c) augment, spread 0.5: control", made="augment-0.5", control=True),
    Arm("(d) synthesize: control", made="synthesize", control=True),
    Arm("(e) classical + augment, spread 0.5: control", classical=True, made="augment-0.5", control=True),
)


# -------------------------------------------------------------------------------------------------------------- pictures


def pick(pictures: Pictures, seed: int) -> Pictures:
    """PER_CLASS rows of every class."""
    order = np.random.default_rng(seed).permutation(len(pictures))
    classes = range(len(pictures.class_names))
    return pictures.take(np.sort(np.concatenate([order[pictures.labels[order] == k][:PER_CLASS] for k in classes])))


def write_folder(pictures: Pictures, folder: Path) -> None:
    """Real pictures as `twofold augment` takes them: a folder per class, named by its index."""
    for row, (pixels, label) in enumerate(zip(pictures.pixels, pictures.labels, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{row:05d}.png").write_bytes(image_io.encode(pixels, image_io.PNG, None))


def make(kind: str, real: Pictures, folder: Path, seed: int, bundle: Path | None) -> Pictures:
    """A set by the command that makes it."""
    name, _, spread = kind.partition("-")
    write_folder(real, folder / "real")
    place = folder / kind / "train-00000-of-00001.parquet"
    own = ["--per-class", str(SYNTHESIZED)] if name == "synthesize" else ["--per-picture", str(PER_PICTURE), "--spread", spread]
    source = [] if name == "synthesize" else [str(folder / "real")]
    chosen = [] if bundle is None else ["--bundle", str(bundle)]
    code = cli.main([name, *source, *own, "--seed", str(seed), *chosen, "--out", str(place)])
    if code:
        sys.exit(code)
    return load(place.parent)


def train_control(real: Pictures, folder: Path) -> Path:
    """The bundle of a model that has seen nothing but the real pictures; a tenth of them is its validation split."""
    data, bundle = folder / "real.npz", folder / "bundle"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(data, x_train=real.pixels, y_train=real.labels, class_names=np.array(real.class_names))
    for command in (
        ["train", "fashion", "--data", str(data), "--out", str(folder / "run"), "--threads", "1", *CONTROL],
        ["export", str(folder / "run"), "--data", str(data), "--out", str(bundle), "--name", "control"],
    ):
        code = training_cli.main(command)
        if code:
            sys.exit(code)
    return bundle


def classically(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Grey pictures [B, H, W, 1], each flipped or not, shifted by up to SHIFT_PX and turned by up to TURN_DEG; black comes in."""
    changed = np.empty_like(pixels)
    for k, picture in enumerate(pixels[..., 0]):
        image = Image.fromarray(picture[:, ::-1].copy() if rng.random() < 0.5 else picture)
        across, down = (int(by) for by in rng.integers(-SHIFT_PX, SHIFT_PX + 1, 2))
        turned = image.rotate(rng.uniform(-TURN_DEG, TURN_DEG), Image.Resampling.BILINEAR, translate=(across, down))
        changed[k] = np.asarray(turned)[..., None]
    return changed


# ------------------------------------------------------------------------------------------------------------ classifier


def network(classes: int) -> nn.Module:
    """x [B, 1, 28, 28] in [0, 1] -> logits [B, K]."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*block(1, 16), *block(16, 32), *block(32, 64), nn.Flatten(), nn.Dropout(0.3), nn.LazyLinear(classes))


def accuracy(real: Pictures, made: Pictures | None, classical: bool, test: Pictures, seed: int, steps: int) -> float:
    """Train on the arm's pictures and return the share of the test split that is given its own class."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    model = network(len(real.class_names))
    model(to_unit(real.pixels[:2]))
    optimiser = torch.optim.AdamW(model.parameters(), PEAK_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps)
    sources = [(real, BATCH)] if made is None else [(real, BATCH // 2), (made, BATCH // 2)]
    rows = [shuffled(len(pictures), size, rng) for pictures, size in sources]
    for _ in range(steps):
        taken = [pictures.take(next(r)) for (pictures, _), r in zip(sources, rows, strict=True)]
        pixels, labels = (np.concatenate([getattr(part, name) for part in taken]) for name in ("pixels", "labels"))
        loss = F.cross_entropy(model(to_unit(classically(pixels, rng) if classical else pixels)), torch.from_numpy(labels))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    model.eval()
    with torch.inference_mode():
        read_as = [model(to_unit(test.pixels[start : start + 500])).argmax(1).numpy() for start in range(0, len(test), 500)]
    return float((np.concatenate(read_as) == test.labels).mean())


def to_unit(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)


def shuffled(count: int, batch: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Endless batches of row numbers, reshuffled each epoch; a short last one is dropped."""
    while True:
        order = rng.permutation(count)
        for start in range(0, count - batch + 1, batch):
            yield order[start : start + batch]


# ----------------------------------------------------------------------------------------------------------------- study


def study(data: Path, out: Path, seeds: int, control_seeds: int, steps: int, bundle: Path | None) -> dict[str, list[float]]:
    """Arm -> test accuracy of each seed; what OUT/study-STEPS.json already has is not computed again."""
    train, test, kept = load(data, "train"), load(data, "test"), out / f"study-{steps}.json"
    found: dict[str, list[float]] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    out.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        real = pick(train, seed)
        for arm in ARMS:
            if len(found.setdefault(arm.title, [])) > seed or (arm.control and seed >= control_seeds):
                continue
            folder = out / ("control" if arm.control else "shipped") / str(seed)
            model = train_control(real, folder) if arm.control else bundle
            made = make(arm.made, real, folder, seed, model) if arm.made else None
            found[arm.title].append(accuracy(real, made, arm.classical, test, seed, steps))
            kept.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
            print(f"{arm.title}, seed {seed}: {found[arm.title][-1]:.4f} ({time.process_time():.0f} CPU s so far)", file=sys.stderr)
    return found


def table(found: dict[str, list[float]]) -> str:
    """Markdown: mean and spread (lowest to highest) over the seeds."""
    lines = ["| arm | mean accuracy | lowest to highest | seeds |", "|---|---:|---:|---:|"]
    for title, values in found.items():
        if values:
            lines.append(f"| {title} | {statistics.mean(values):.3f} | {min(values):.3f} to {max(values):.3f} | {len(values)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, help="the model that makes pictures (the embedded one)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--control-seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(table(study(arguments.data, arguments.out, arguments.seeds, arguments.control_seeds, arguments.steps, arguments.bundle)))


if __name__ == "__main__":
    main()
