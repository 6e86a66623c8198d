"""Probes, trained afresh, that predict the class from codes, and codes in two dimensions; the only module that imports scikit-learn.

Knows nothing of models: codes and labels in, a figure or places out. A probe's figure depends on its width, its data and its epochs,
so these are fixed here and printed with the figure.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn

PROBES = ("linear", "mlp", "mlp_512", "dcodr", "overlord")
HELD_SHARE = 0.2  # of the training codes: what decides when a published probe stops


def leak(
    kind: str, codes: NDArray[np.float32], labels: NDArray[np.int64], held: NDArray[np.float32], held_labels: NDArray[np.int64], seed: int
) -> float:
    """Accuracy, 0..1, on held codes [M, D] of a probe fitted to codes [N, D]; a StandardScaler is fitted to the training codes.

    kind "linear": logistic regression (Alain and Bengio, 2016); "mlp": 256-256 with early stopping; "mlp_512": 512-512, 25 epochs;
    "dcodr": the six layers of 64 of Kahana and Hoshen, A Contrastive Objective for Learning Disentangled Representations, 2022;
    "overlord": the penalised 256-256 of Gabbay, Cohen and Hoshen, An Image is Worth More Than a Thousand Words, 2021, both in the
    settings of their published code. Codes that hold nothing of the class get `chance`. Raises ValueError for another kind.
    """
    held_back = max(0.1, len(np.unique(labels)) / len(labels))
    scaler, probe = StandardScaler(), _classifier(kind, seed, held_back)
    with warnings.catch_warnings():
        # the 512-512 probe stops at its 25 epochs by definition, converged or not
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(scaler.fit_transform(codes), labels)
    return float(probe.score(scaler.transform(held), held_labels))


def _classifier(kind: str, seed: int, held_back: float) -> Any:
    """`held_back` is the share of the rows by which a probe stops early: a tenth, or a row of each class where a tenth is less."""
    if kind == "linear":
        return LogisticRegression(max_iter=1000)
    if kind == "mlp":
        return MLPClassifier((256, 256), early_stopping=True, validation_fraction=held_back, random_state=seed)
    if kind == "mlp_512":
        return MLPClassifier((512, 512), max_iter=25, random_state=seed)
    if kind == "dcodr":
        return _NormalisedMLP((64,) * 5, batch=128, epochs=200, patience=7, penalty=0.0, seed=seed)
    if kind == "overlord":
        return _NormalisedMLP((256, 256), batch=64, epochs=1000, patience=10, penalty=0.01, seed=seed)
    raise ValueError(f"no such probe; there are {', '.join(PROBES)}")


@dataclass
class _NormalisedMLP:
    """Linear layers with batch normalisation and leaky ReLU between them, by Adam (1e-3).

    Stops when for `patience` epochs no accuracy on held-out training codes was better, and keeps the best epoch.
    """

    widths: tuple[int, ...]
    batch: int
    epochs: int
    patience: int
    penalty: float  # of the squared weights, summed
    seed: int

    def fit(self, codes: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        order = np.random.default_rng(self.seed).permutation(len(codes))
        cut = max(1, round(HELD_SHARE * len(codes)))
        x, y = torch.from_numpy(codes).float(), torch.from_numpy(labels)
        held, rows = order[:cut], torch.from_numpy(order[cut:])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network = self._layers(codes.shape[1], int(labels.max()) + 1)
            self._descend(x, y, rows, (codes[held], labels[held]))

    def score(self, codes: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        """Share of codes [N, D] that get their own class."""
        self.network.eval()
        with torch.inference_mode():
            return float((self.network(torch.from_numpy(codes).float()).argmax(1).numpy() == labels).mean())

    def _layers(self, inputs: int, classes: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for before, width in zip((inputs, *self.widths), self.widths, strict=False):
            layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.LeakyReLU()]
        return nn.Sequential(*layers, nn.Linear(self.widths[-1], classes))

    def _descend(self, x: torch.Tensor, y: torch.Tensor, rows: torch.Tensor, held: tuple[NDArray[Any], NDArray[Any]]) -> None:
        linear = [p for layer in self.network if isinstance(layer, nn.Linear) for p in layer.parameters()]
        others = [p for layer in self.network if not isinstance(layer, nn.Linear) for p in layer.parameters()]
        # the gradient of penalty * w^2 is 2 * penalty * w
        parts: list[dict[str, Any]] = [{"params": linear, "weight_decay": 2 * self.penalty}, {"params": others}]
        optimiser = torch.optim.Adam(parts, 1e-3)
        batch = min(self.batch, len(rows))
        best, since, kept = -1.0, 0, self.network.state_dict()
        for _ in range(self.epochs):
            self.network.train()
            shuffled = rows[torch.randperm(len(rows))]
            for start in range(0, len(rows) - batch + 1, batch):
                some = shuffled[start : start + batch]
                optimiser.zero_grad(set_to_none=True)
                F.cross_entropy(self.network(x[some]), y[some]).backward()
                optimiser.step()
            accuracy = self.score(*held)
            since += 1
            if accuracy > best:
                best, since, kept = accuracy, 0, {name: value.clone() for name, value in self.network.state_dict().items()}
            if since >= self.patience:
                break
        self.network.load_state_dict(kept)


def chance(labels: NDArray[np.int64]) -> float:
    """What a probe gets from codes that hold nothing, 0..1: the share of the most frequent class among labels [N]."""
    return float(np.bincount(labels).max() / len(labels))


def flat_view(codes: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """Places [N, 2] in -1..1 of codes [N, D], N > 1, neighbours kept together (t-SNE of perplexity 30, or a third of N).

    Distances between clusters mean little. The same codes have the same places, on the same machine and versions.
    """
    start = "pca" if codes.shape[1] > 1 else "random"
    places = TSNE(perplexity=min(30.0, (len(codes) - 1) / 3), init=start, random_state=seed).fit_transform(codes)
    centred = places - (places.max(0) + places.min(0)) / 2
    return (centred / max(np.abs(centred).max(), 1e-12)).astype(np.float32)


def neighbour_share(points: NDArray[np.floating], labels: NDArray[np.int64], neighbours: int = 10) -> float:
    """How often the nearest neighbours of a point [N, D] are of its own class, mean over points; N > 1."""
    points = points.astype(np.float64)
    squares = np.square(points).sum(1)
    distance = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, 1, kind="stable")[:, : min(neighbours, len(points) - 1)]
    return float((labels[nearest] == labels[:, None]).mean())
