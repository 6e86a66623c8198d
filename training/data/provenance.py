"""What the pictures of a run are: where from, how many, and a digest that tells them from any others. Pure; writes nothing."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from twofold.training.data.dataset import Pictures


def manifest(train: Pictures, validation: Pictures) -> dict[str, Any]:
    """What the pictures of a run are: their source, counts, and SHA-256 over pixels, labels and class names."""
    rows = np.bincount(train.labels, minlength=len(train.class_names)).tolist()
    return {
        **train.source,
        "classes": len(train.class_names),
        "train_rows": len(train),
        "validation_rows": len(validation),
        "shape": list(train.pixels.shape[1:]),
        "rows_per_class": dict(zip(train.class_names, rows, strict=True)),
        "sha256": {"train": digest(train), "validation": digest(validation)},
    }


def digest(pictures: Pictures) -> str:
    """SHA-256 in hex over the shape, the class names, the pixels and the labels, in their order."""
    found = hashlib.sha256(json.dumps([pictures.pixels.shape, pictures.class_names]).encode())
    found.update(np.ascontiguousarray(pictures.pixels).data)
    found.update(np.ascontiguousarray(pictures.labels, dtype="<i8").data)
    return found.hexdigest()
