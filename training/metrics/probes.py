"""Probes, trained afresh, that predict the class from codes, and codes in two dimensions; the only module that imports scikit-learn.

Knows nothing of models: codes and labels in, a figure or places out. A probe's figure depends on its width, its data and its epochs,
so these are fixed here and printed with the figure.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PROBES = ("linear", "mlp", "mlp_512")


def leak(
    kind: str, codes: NDArray[np.float32], labels: NDArray[np.int64], held: NDArray[np.float32], held_labels: NDArray[np.int64], seed: int
) -> float:
    """Accuracy, 0..1, on held codes [M, D] of a probe fitted to codes [N, D]; a StandardScaler is fitted to the training codes.

    kind "linear": logistic regression; "mlp": 256-256 with early stopping; "mlp_512": 512-512, 25 epochs. Codes that hold nothing of
    the class get `chance` (linear probes: Alain and Bengio, 2016). Raises ValueError for another kind.
    """
    probe = make_pipeline(StandardScaler(), _classifier(kind, seed, max(0.1, len(np.unique(labels)) / len(labels))))
    with warnings.catch_warnings():
        # the 512-512 probe stops at its 25 epochs by definition, converged or not
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(codes, labels)
    return float(probe.score(held, held_labels))


def _classifier(kind: str, seed: int, held_back: float) -> Any:
    """`held_back` is the share of the rows by which a probe stops early: a tenth, or a row of each class where a tenth is less."""
    if kind == "linear":
        return LogisticRegression(max_iter=1000)
    if kind == "mlp":
        return MLPClassifier((256, 256), early_stopping=True, validation_fraction=held_back, random_state=seed)
    if kind == "mlp_512":
        return MLPClassifier((512, 512), max_iter=25, random_state=seed)
    raise ValueError(f"no such probe; there are {', '.join(PROBES)}")


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
