"""Fresh probes that try to read the class from codes; the only file of the house that touches scikit-learn.

Knows nothing of models: codes and labels in, an accuracy out. A probe's figure depends on its width, its data and its epochs,
so these are fixed here and printed with the figure.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PROBES = ("linear", "mlp", "mlp_512")


def leak(
    kind: str, codes: NDArray[np.float32], labels: NDArray[np.int64], held: NDArray[np.float32], held_labels: NDArray[np.int64], seed: int
) -> float:
    """Accuracy on held codes [M, D] of a probe fitted to codes [N, D]; a StandardScaler is fitted to the training codes.

    kind "linear": logistic regression; "mlp": 256-256 with early stopping; "mlp_512": 512-512, 25 epochs.
    """
    probe = make_pipeline(StandardScaler(), _classifier(kind, seed))
    with warnings.catch_warnings():
        # the 512-512 probe stops at its 25 epochs by definition, converged or not
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(codes, labels)
    return float(probe.score(held, held_labels))


def _classifier(kind: str, seed: int) -> Any:
    if kind == "linear":
        return LogisticRegression(max_iter=1000)
    if kind == "mlp":
        return MLPClassifier((256, 256), early_stopping=True, random_state=seed)
    if kind == "mlp_512":
        return MLPClassifier((512, 512), max_iter=25, random_state=seed)
    raise ValueError(f"no such probe; there are {', '.join(PROBES)}")


def chance(labels: NDArray[np.int64]) -> float:
    """What a probe gets from worthless codes: the share of the most frequent class."""
    return float(np.bincount(labels).max() / len(labels))
