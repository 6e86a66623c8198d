"""An independent evaluation classifier into a bundle that is there: trained, traced, verified, its accuracy put into the card.

It learns from the training split of the model and shares no part with it, so that a verdict is not given by the encoder that the decoder
was trained against. The model, its hash and its figures stay as they are. Knows nothing of the model's networks; needs no checkpoint.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch

from twofold.files import atomic_folder
from twofold.model import contract
from twofold.model.contract import Card
from twofold.training.bundle_ops.refresh_extras import split_as_trained
from twofold.training.data.dataset import DataError, Pictures, load
from twofold.training.evaluation.eval_classifier import EvalClassifierConfig, Network, accuracy, fit
from twofold.training.export.graphs import EvalClassifierGraph, to_onnx
from twofold.training.export.model_card import model_card
from twofold.training.export.verify import verify_eval_classifier

WIDTHS, FEATURES = (16, 32, 48), 64  # 250 KB for ten classes, 300 KB for two hundred
PIXELS_SEEN = 350_000_000  # over all epochs: one to two minutes of a core
FEWEST_EPOCHS, MOST_EPOCHS = 3, 40
LARGEST_BATCH, SMALLEST_BATCH, BATCHES = 128, 16, 16  # an epoch has at least so many batches where there are enough pictures
SHIFT_SHARE = 28  # side of a picture per pixel of translation


def add_eval_classifier(bundle: Path, data: Path, log: Callable[[str], object] = print, config: EvalClassifierConfig | None = None) -> Path:
    """Train an evaluation classifier (None: as `config_for` says), put it into `bundle`, replacing one that is there; returns `bundle`.

    `data` is the data set that the model was trained on; the test split, where there is one, is measured once. Raises ContractError,
    DataError when these are other pictures, ExportError when the graph differs from torch; the bundle is then as before.
    """
    bundle, started = bundle.resolve(), time.monotonic()
    card = contract.open_bundle(bundle).card
    kept, held = split_as_trained(card, data)
    config = config or config_for(kept)
    network = fit(kept, held, config, log, torch.device("cpu"))
    graph = to_onnx(EvalClassifierGraph(network), contract.eval_classifier_signature(card.dims))
    verify_eval_classifier(network.eval(), graph, held.pixels)
    reached = {"validation": round(accuracy(network, held), 4), "test": _test_accuracy(network, card, data)}
    facts = {"accuracy": reached, "config": dataclasses.asdict(config), "seconds": round(time.monotonic() - started)}
    _put(bundle, graph, dataclasses.replace(card, training={**card.training, "eval_classifier": facts}))
    log(f"evaluation classifier: {len(graph) // 1000} KB, " + ", ".join(f"{split} {share}" for split, share in reached.items() if share))
    return bundle


def config_for(pictures: Pictures) -> EvalClassifierConfig:
    """A small network; fewer epochs of many or large pictures, smaller batches of few."""
    count, height, width, _ = pictures.pixels.shape
    return EvalClassifierConfig(
        widths=WIDTHS,
        features=FEATURES,
        epochs=min(MOST_EPOCHS, max(FEWEST_EPOCHS, PIXELS_SEEN // (count * height * width))),
        batch=min(LARGEST_BATCH, max(SMALLEST_BATCH, count // BATCHES)),
        shift_px=max(1, min(height, width) // SHIFT_SHARE),
    )


def _test_accuracy(network: Network, card: Card, data: Path) -> float | None:
    """None where the data set has no test split."""
    try:
        return round(accuracy(network, load(data, "test", card.dims, card.preprocessing)), 4)
    except DataError:
        return None


def _put(bundle: Path, graph: bytes, card: Card) -> None:
    """Both into a copy of the bundle, which takes its place; a README.md with figures stays, one without says what the card says."""
    with atomic_folder(bundle) as beside:
        shutil.copytree(bundle, beside, dirs_exist_ok=True)
        (beside / contract.EVAL_CLASSIFIER).write_bytes(graph)
        (beside / contract.CARD).write_text(card.to_json(), encoding="utf-8")
        if not card.metrics:
            (beside / contract.MODEL_CARD).write_text(model_card(card), encoding="utf-8")
        contract.write_sums(beside)
        contract.open_bundle(beside)
