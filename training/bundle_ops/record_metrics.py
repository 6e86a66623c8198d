"""Figures into a bundle: the card's metrics, and the model card (README.md) for people. Copies the numbers of evaluations, computes none.

The model hash does not cover the card, so a measured bundle is the same model. Knows the contract and the measures' names.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from twofold.files import atomic_folder
from twofold.model import contract
from twofold.model.contract import Card, ContractError
from twofold.training.evaluation.formats import Evaluation
from twofold.training.evaluation.metric_table import summary
from twofold.training.export.model_card import model_card

RECORDED = ("split", "values", "predictors", "verdict", "rows", "eval_classifier", "seed")  # fields of an evaluation that a card holds


def record(bundle: Path, evaluations: Mapping[str, Evaluation], seeds: Sequence[Evaluation] = ()) -> Card:
    """Write the first evaluation into card.json and all of them, side by side, into README.md; sums renewed, folder renamed in.

    `seeds` are evaluations of the same configuration from other seeds, see `metric_table.table`. Returns the new card. Raises
    ContractError when the first evaluation is of another model, or was quick (a sample is no figure); ValueError as `table`.
    """
    bundle = bundle.resolve()
    card = contract.open_bundle(bundle).card
    own = next(iter(evaluations.values()))
    if own.bundle.model_hash != card.model_hash:
        raise ContractError("the evaluation is of another model")
    if own.quick:
        raise ContractError("a quick evaluation gives no figures: run it whole")
    metrics = {key: value for key, value in own.to_dict().items() if key in RECORDED}
    card = dataclasses.replace(card, metrics=metrics)
    with atomic_folder(bundle) as beside:
        shutil.copytree(bundle, beside, dirs_exist_ok=True)
        (beside / contract.CARD).write_text(card.to_json(), encoding="utf-8")
        (beside / contract.MODEL_CARD).write_text(model_card(card, summary(evaluations, seeds)), encoding="utf-8")
        contract.write_sums(beside)
        contract.open_bundle(beside)
    return card
