"""Extras of a bundle that is there: made again, from what is served. The model, its card and its figures stay as they are.

For bundles from before an extra was known. Knows the served model; needs no checkpoint.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from twofold.files import atomic_folder
from twofold.model import contract
from twofold.training.data.dataset import DataError, Pictures, group_of, load, split_validation
from twofold.training.data.provenance import digest
from twofold.training.evaluation.evaluate import open_model
from twofold.training.export.extras import NUDGE_OF_PIXELS, write_extras

EXTRAS = (contract.CALIBRATION, contract.DIRECTIONS, contract.MAP, contract.EXAMPLES)


def renew_extras(bundle: Path, data: Path) -> Path:
    """Write calibration, style directions, map and examples of `bundle` again, from the validation rows of `data`; renamed into place.

    Raises ContractError, and DataError when these are not the pictures that the model was trained on.
    """
    bundle = bundle.resolve()
    files = contract.open_bundle(bundle)
    _, held = split_as_trained(files.card, data)
    model = open_model(bundle)
    read = model.encode(held.pixels)
    encoded = {name: getattr(read, name) for name in ("z_s", "z_u_mean", "log_density")}

    def decode(z_s: Tensor, z_u: Tensor) -> Tensor:
        return torch.from_numpy(model.decode(z_s.numpy(), z_u.numpy())).float() / 255

    scale_tril = torch.from_numpy(files.prior.fit_z_u_scale_tril)
    with atomic_folder(bundle) as beside:
        shutil.copytree(bundle, beside, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*EXTRAS))
        write_extras(beside, decode, scale_tril, held, encoded, NUDGE_OF_PIXELS)
        contract.write_sums(beside)
        contract.open_bundle(beside)
    return bundle


def split_as_trained(card: contract.Card, data: Path) -> tuple[Pictures, Pictures]:
    """The rows of `data` that the training of this card kept, and those that it held back. Raises DataError for other pictures."""
    pictures = load(data, "train", card.dims, card.preprocessing, group_of(card.data))
    said: Mapping[str, object] = card.data.get("sha256", {})
    kept, held = split_validation(pictures, int(card.data.get("validation_rows", 0)))
    if digest(held) != said.get("validation"):
        raise DataError("these are not the pictures that the model was trained on: give the data set it was made from")
    return kept, held
