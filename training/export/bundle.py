"""A trained model to a bundle: graphs traced and verified, files written beside, the folder renamed into place.

Knows the order of things; `graphs.py` traces, `quantize.py` makes int8 graphs, `verify.py` compares, `extras.py` and `model_card.py` write
the rest. Knows nothing of the service.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Required, TypedDict

import numpy as np

from twofold.files import atomic_folder
from twofold.model import contract
from twofold.model.contract import Card, ContractError, Dims, Pixels, Preprocessing, Prior
from twofold.model.vae_gan import VaeGan
from twofold.training.config.environment import revision
from twofold.training.config.schema import Config, from_dict
from twofold.training.data.dataset import DataError, Pictures, load_for, preprocessing_of
from twofold.training.data.provenance import manifest
from twofold.training.export.extras import write_extras
from twofold.training.export.graphs import inference_copy, trace
from twofold.training.export.model_card import model_card
from twofold.training.export.quantize import quantise
from twofold.training.export.verify import INT8, Encoded, Int8Bounds, Sessions, comparable_first, golden, verify_fp32, verify_int8
from twofold.training.trainer import checkpoint
from twofold.training.trainer.calibration import act
from twofold.training.trainer.latents import encode
from twofold.training.trainer.run_dir import DATA, LAST
from twofold.training.trainer.trainer import build

CALIBRATION_ROWS = 512  # training pictures that decide the ranges of int8
CALIBRATION_CHUNK = 100  # of them at once


class CardFacts(TypedDict, total=False):
    """What the card says that the graphs do not: see `contract.Card`."""

    name: Required[str]
    preprocessing: Required[Preprocessing]
    data: Mapping[str, Any]
    training: Mapping[str, Any]
    revision: str


class Verified(NamedTuple):
    """Graphs {file: ONNX graph} that were verified on held-out pictures, and what the encoder gives for these."""

    graphs: dict[str, bytes]
    encoded: Encoded
    precision: str


def export_run(
    run: Path,
    data: Path,
    out: Path,
    name: str | None = None,
    file: str = LAST,
    precision: str = "fp32",
    include: Sequence[Path] = (),
) -> Path:
    """Export a checkpoint of the last stage of a run folder, by default its newest, as `export` does; returns `out`.

    `data` is the data set that the run was trained on; `name` that of the model, where it is not the configuration's; `precision` is
    fp32 or int8; `include` as `export` has it. Raises CheckpointError for a run that is not finished, DataError for other pictures, and
    what `export` raises.
    """
    state, config = _finished(run, file)
    kept, held = load_for(config.data, data)
    facts = manifest(kept, held)
    _require_same_data(run, facts)
    model = _restored(state, config, kept)
    card = CardFacts(
        name=name or config.name,
        preprocessing=preprocessing_of(config.data, kept.pixels.shape[3]),
        data={**facts, "origin": config.data.origin, "licence": config.data.licence},
        training={**config.to_dict(), "seconds": round(state["seconds"])},
        revision=revision(),
    )
    return export(model, held, out, card, _calibration_pixels(kept) if precision == "int8" else None, include)


def export(
    model: VaeGan, held: Pictures, out: Path, card: CardFacts, calibrate: Pixels | None = None, include: Sequence[Path] = ()
) -> Path:
    """Write the bundle of a trained model to the folder `out`, replacing one that is there, and return it.

    `held` are pictures the model was not trained on (the validation rows): golden inputs and extras. With `calibrate`, pixels uint8
    [N, H, W, C] of training pictures, the graphs are int8; files to `include` (credits, a licence) are copied under their own
    names. Raises ContractError when `out` is something else than a bundle or a file cannot be included, ExportError when the graphs
    differ from torch, or from their fp32 twins beyond the bounds; `out` is then as before.
    """
    out = out.resolve()
    _require_replaceable(out)
    model = inference_copy(model)
    held = comparable_first(model, held)
    dims = Dims(model.sizes.dim_s, model.sizes.dim_u, len(held.class_names), *held.pixels.shape[1:])
    verified = _verified(model, dims, held, calibrate)
    with atomic_folder(out) as folder:
        hashes = _write_model(folder, verified, held, _prior(model))
        write_extras(folder, model.decode, model.fitted.z_u_scale_tril, held, verified.encoded)
        _include(include, folder)
        model_hash = contract.model_hash(hashes)
        _close(folder, Card(class_names=held.class_names, dims=dims, model_hash=model_hash, precision=verified.precision, **card))
    return out


def to_int8(
    graphs: dict[str, bytes], held: Pictures, encoded: Encoded, calibrate: Pixels, bounds: Int8Bounds = INT8
) -> tuple[dict[str, bytes], Encoded]:
    """int8 twins of verified graphs, and what the new encoder gives for `held`; `encoded` is what the old one gives.

    Calibrated on training pixels [N, H, W, C], their codes, and swaps of these. Raises ExportError unless `verify_int8` agrees.
    """
    codes = Sessions.of(graphs).encode(calibrate, CALIBRATION_CHUNK)
    z_s, z_u = codes["z_s"], codes["z_u_mean"]
    swaps = {"z_s": np.concatenate([z_s, z_s]), "z_u": np.concatenate([z_u, np.roll(z_u, 1, 0)])}
    twins = {
        contract.ENCODER: quantise(graphs[contract.ENCODER], {"pixels": calibrate}, grid=False),
        contract.DECODER: quantise(graphs[contract.DECODER], swaps, grid=True),
    }
    return twins, verify_int8(twins, graphs, held, encoded, bounds)


# ------------------------------------------------------------------------------------------------------ from the run folder


def _finished(run: Path, file: str) -> tuple[dict[str, Any], Config]:
    """A checkpoint and its configuration. Raises CheckpointError for one before the last stage, or the newest of an unfinished run."""
    state = checkpoint.load(run / file)
    config = from_dict(json.loads(state["config"]))
    if state["stage"] < len(config.stage) - (file != LAST):
        raise checkpoint.CheckpointError(f"{file}: the run is not finished: train on, then export")
    return state, config


def _restored(state: dict[str, Any], config: Config, kept: Pictures) -> VaeGan:
    """The model with the averaged weights; a checkpoint from within the last stage gets what the end of that stage would have done."""
    model = build(config, kept)
    model.load_state_dict(state["average"])
    if state["stage"] < len(config.stage):
        act(model, config.stage[-1].after, lambda: encode(model, kept.pixels, kept.labels))
    return model


def _require_same_data(run: Path, facts: Mapping[str, Any]) -> None:
    """Raises DataError when the run folder names other pictures than these: classes, weights and codes would not be its own."""
    noted = run / DATA
    if noted.exists() and json.loads(noted.read_text(encoding="utf-8"))["sha256"] != facts["sha256"]:
        raise DataError("the run was trained on other pictures than these: give the data set it began with")


def _calibration_pixels(kept: Pictures) -> Pixels:
    rows = np.random.default_rng(0).permutation(len(kept))[:CALIBRATION_ROWS]
    return kept.pixels[rows]


# ------------------------------------------------------------------------------------------------------------- to the bundle


def _require_replaceable(out: Path) -> None:
    """Raises ContractError unless `out` is missing, an empty folder, or a bundle."""
    empty = out.is_dir() and not any(out.iterdir())
    if out.exists() and not empty and not (out / contract.SUMS).is_file():
        raise ContractError(f"{out.name} is there and is no bundle, so it is not replaced: give another folder")


def _verified(model: VaeGan, dims: Dims, held: Pictures, calibrate: Pixels | None) -> Verified:
    graphs = trace(model, dims)
    encoded = verify_fp32(model, graphs, held)
    if calibrate is None:
        return Verified(graphs, encoded, "fp32")
    return Verified(*to_int8(graphs, held, encoded, calibrate), "int8")


def _write_model(folder: Path, verified: Verified, held: Pictures, prior: Prior) -> dict[str, str]:
    """The required files but the card; returns the SHA-256 of those that decide what the model answers."""
    for name, content in verified.graphs.items():
        (folder / name).write_bytes(content)
    contract.write_arrays(folder / contract.PRIOR, prior)
    contract.write_arrays(folder / contract.GOLDEN, golden(verified.graphs, held, prior))
    return {name: contract.file_sha256(folder / name) for name in contract.HASHED}


def _prior(model: VaeGan) -> Prior:
    prior, fitted = model.prior, model.fitted
    values = (prior.means, prior.log_vars, prior.log_weights.exp(), fitted.means, fitted.scale_tril, fitted.z_u_mean, fitted.z_u_scale_tril)
    return Prior(*(value.detach().cpu().numpy().astype(np.float32).copy() for value in values))


def _include(files: Sequence[Path], folder: Path) -> None:
    """Copy files into the bundle. Raises ContractError for a name that a bundle has, or a file that cannot be read."""
    for file in files:
        if (folder / file.name).exists() or file.name in (contract.CARD, contract.MODEL_CARD, contract.SUMS):
            raise ContractError(f"{file.name} cannot be included: a bundle has a file of that name")
        try:
            shutil.copyfile(file, folder / file.name)
        except OSError as error:
            raise ContractError(f"{file.name} cannot be read, so it is not included") from error


def _close(folder: Path, card: Card) -> None:
    """Write both cards and the sums, and read the bundle as the service will. Raises ContractError."""
    (folder / contract.CARD).write_text(card.to_json(), encoding="utf-8")
    (folder / contract.MODEL_CARD).write_text(model_card(card), encoding="utf-8")
    contract.write_sums(folder)
    contract.open_bundle(folder)
