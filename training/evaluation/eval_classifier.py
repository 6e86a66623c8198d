"""The independent evaluation classifier: a small CNN that says which class a picture shows, and gives the features of the Fréchet distance.

It is trained on real training pictures only (validation rows cut off first) and shares no part with the model that it evaluates.
Knows nothing of codes, bundles or generated pictures. It is fixed by its configuration, its seed and a hash over its tensors; figures
made with different evaluation classifiers are not comparable.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from twofold.model.contract import Pixels
from twofold.training.config.schema import DataConfig
from twofold.training.data.dataset import DataError, Pictures, load, shape_for, shuffled_rows, split_validation
from twofold.training.evaluation.formats import STRICT, read, write
from twofold.training.trainer import checkpoint

WEIGHTS, CARD = "eval_classifier.pt", "eval_classifier.json"
EVAL_ROWS = 500
SCALE_ROWS = 10_000  # training pictures, about, that set the scale of the features


@dataclass(frozen=True)
class EvalClassifierConfig:
    """Everything that decides the weights, besides the data."""

    widths: tuple[int, int, int] = (32, 64, 128)  # channels at full, half and quarter size
    features: int = 128  # penultimate layer
    epochs: int = 10
    batch: int = 128
    learning_rate: float = 3e-3  # peak of one cycle
    weight_decay: float = 0.02
    dropout: float = 0.3
    shift_px: int = 1  # random translation, either way
    validation_rows: int = 5000  # at most a tenth of the training split
    seed: int = 0


class Network(nn.Module):
    """x [B, C, H, W] in [0, 1] -> logits [B, K]; `embed` gives the penultimate features [B, features], each >= 0, of mean variance 1."""

    def __init__(self, config: EvalClassifierConfig, channels: int, classes: int) -> None:
        super().__init__()
        a, b, c = config.widths
        self.body = nn.Sequential(
            *_conv(channels, a), nn.MaxPool2d(2), *_conv(a, b), *_conv(b, b), nn.MaxPool2d(2), *_conv(b, c), *_conv(c, c)
        )
        self.penultimate = nn.Linear(4 * c, config.features)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.features, classes)

    def embed(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(self.body((x - 0.5) * 2), 2)
        return F.relu(self.penultimate(pooled.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.embed(x)))


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


@dataclass(frozen=True)
class Accuracy:
    """Share of real pictures (0..1) that are given their own class."""

    validation: float
    test: float


@dataclass(frozen=True)
class TrainedOn:
    """`Pictures.source` of both splits; `train` with the rows that were used."""

    train: Mapping[str, Any]
    test: Mapping[str, Any]


@dataclass(frozen=True)
class EvalClassifierCard:
    """eval_classifier.json: the facts that go beside every figure made with the network."""

    __pydantic_config__ = STRICT

    hash: str  # SHA-256 over configuration, classes, shape and every tensor
    config: EvalClassifierConfig
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]  # H, W, C
    data: TrainedOn
    accuracy: Accuracy
    seconds: float
    torch: str


@dataclass(frozen=True)
class EvalClassifier:
    """A trained network in evaluation mode, and its card."""

    network: Network
    card: EvalClassifierCard

    def classify(self, pixels: Pixels) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """pixels uint8 [N, H, W, C] -> (most probable class [N], penultimate features [N, D])."""
        return classify(self.network, pixels)


def classify(network: Network, pixels: Pixels) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """pixels uint8 [N, H, W, C] -> (most probable class [N], penultimate features [N, D]); the network is put into evaluation mode."""
    network.eval()
    labels, features = [], []
    with torch.inference_mode():
        for start in range(0, len(pixels), EVAL_ROWS):
            embedded = network.embed(_to_unit(torch.from_numpy(pixels[start : start + EVAL_ROWS]).to(network.head.weight.device)))
            features.append(embedded.cpu().numpy())
            labels.append(network.head(embedded).argmax(1).cpu().numpy())
    return np.concatenate(labels), np.concatenate(features)


def accuracy(network: Network, pictures: Pictures) -> float:
    """Share of real pictures that are given their own class."""
    return float((classify(network, pictures.pixels)[0] == pictures.labels).mean())


def train_eval_classifier(
    data: Path,
    out: Path,
    config: EvalClassifierConfig | None = None,
    log: Callable[[str], object] = print,
    like: DataConfig | None = None,
    device: torch.device | str = "cpu",
) -> EvalClassifierCard:
    """Train on the training split of `data` without its validation rows, write eval_classifier.pt and eval_classifier.json into `out`.

    Pictures have the size, preprocessing and groups that `like` asks for; `device` trains. Accuracy is measured on the validation rows
    and, once, on the test split. Returns the card. Raises DataError.
    """
    config, started = config or EvalClassifierConfig(), time.monotonic()
    like = like or DataConfig()
    asked = (*shape_for(like, data), like.group)
    train, validation = split_validation_rows(load(data, "train", *asked), config.validation_rows)
    network = fit(train, validation, config, log, torch.device(device)).cpu()
    seconds = time.monotonic() - started
    test = load(data, "test", *asked)
    shape = (train.pixels.shape[1], train.pixels.shape[2], train.pixels.shape[3])
    card = EvalClassifierCard(
        hash=_hash(network, config, train.class_names, shape),
        config=config,
        class_names=train.class_names,
        shape=shape,
        data=TrainedOn({**train.source, "rows_used": len(train)}, test.source),
        accuracy=Accuracy(accuracy(network, validation), accuracy(network, test)),
        seconds=round(seconds, 1),
        torch=str(torch.__version__),
    )
    _write(out, network, card)
    log(f"evaluation classifier {card.hash[:8]}: validation {card.accuracy.validation:.4f}, test {card.accuracy.test:.4f}")
    return card


def split_validation_rows(pictures: Pictures, rows: int) -> tuple[Pictures, Pictures]:
    """(train, validation) with `rows` validation rows, but never more than a tenth of the pictures."""
    return split_validation(pictures, min(rows, pictures.most_validation_rows))


def fit(train: Pictures, validation: Pictures, config: EvalClassifierConfig, log: Callable[[str], object], device: torch.device) -> Network:
    """A network on `device`, trained on `train`; `validation` is measured and logged after every epoch.

    AdamW, one cycle, cross-entropy, bfloat16 autocast; the same weights for the same seed, machine and thread count.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = Network(config, train.pixels.shape[3], len(train.class_names)).to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub does not know it
        batch = min(config.batch, len(train))
        steps = len(train) // batch
        optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=max(steps * config.epochs, 2))
        order = shuffled_rows(train.labels, batch, np.random.default_rng(config.seed))
        pixels, labels = torch.from_numpy(train.pixels), torch.from_numpy(train.labels)
        for epoch in range(config.epochs):
            network.train()
            for _ in range(steps):
                rows = torch.from_numpy(next(order))
                with torch.autocast(device.type, torch.bfloat16):
                    logits = network(_to_unit(_shift(pixels[rows], config.shift_px).to(device)))
                optimiser.zero_grad(set_to_none=True)
                F.cross_entropy(logits.float(), labels[rows].to(device)).backward()
                optimiser.step()
                schedule.step()
            log(f"evaluation classifier, epoch {epoch + 1}/{config.epochs}: validation {accuracy(network, validation):.4f}")
    _scale_features(network, train.pixels[:: max(1, len(train) // SCALE_ROWS)])
    return network


def _scale_features(network: Network, pixels: Pixels) -> None:
    """Give the features a mean variance of 1 over `pixels` and undo it in the head: every class found stays as it was.

    A Fréchet distance grows with the square of the features' scale, which training leaves to chance.
    """
    deviation = float(np.sqrt(classify(network, pixels)[1].var(0).mean()))
    with torch.no_grad():
        network.penultimate.weight.div_(deviation)
        network.penultimate.bias.div_(deviation)
        network.head.weight.mul_(deviation)


def _to_unit(pixels: Tensor) -> Tensor:
    """uint8 [B, H, W, C] -> float [B, C, H, W] in [0, 1]; the permuted view is channels_last already."""
    return pixels.permute(0, 3, 1, 2).float().div_(255)


def _shift(pixels: Tensor, by: int) -> Tensor:
    """Translate every picture [B, H, W, C] by up to `by` pixels each way; the border is repeated."""
    count, height, width, _ = pixels.shape
    dy, dx = torch.randint(-by, by + 1, (2, count, 1))
    rows = (dy + torch.arange(height)).clamp(0, height - 1)
    columns = (dx + torch.arange(width)).clamp(0, width - 1)
    return pixels[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _hash(network: Network, config: EvalClassifierConfig, class_names: tuple[str, ...], shape: tuple[int, ...]) -> str:
    """SHA-256 over configuration, classes, shape and every tensor (not over the file, whose bytes depend on its writer)."""
    digest = hashlib.sha256(json.dumps([asdict(config), class_names, shape], sort_keys=True).encode())
    for name, tensor in sorted(network.state_dict().items()):
        array = tensor.contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _write(out: Path, network: Network, card: EvalClassifierCard) -> None:
    """Each file beside and renamed; the card last, whose hash `load_eval_classifier` compares with the weights."""
    out.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), out / (WEIGHTS + ".new"))
    (out / (WEIGHTS + ".new")).replace(out / WEIGHTS)
    write(out / CARD, card)


def load_eval_classifier(folder: Path) -> EvalClassifier:
    """Read what `train_eval_classifier` wrote. Raises DataError if it is missing or garbled, or the weights are not those of the hash."""
    if not (folder / CARD).exists() or not (folder / WEIGHTS).exists():
        raise DataError(f"no evaluation classifier here: {CARD} and {WEIGHTS} are needed; train one with `twofold-train eval-classifier`")
    card = read(EvalClassifierCard, folder / CARD, "the card of an evaluation classifier")
    network = Network(card.config, card.shape[2], len(card.class_names))
    try:
        network.load_state_dict(checkpoint.load(folder / WEIGHTS))
    except (checkpoint.CheckpointError, RuntimeError) as error:
        raise DataError(f"{WEIGHTS} cannot be read, or is not what {CARD} describes") from error
    if _hash(network, card.config, card.class_names, card.shape) != card.hash:
        raise DataError(f"{WEIGHTS} does not hold the weights that {CARD} describes")
    return EvalClassifier(network.eval(), card)
