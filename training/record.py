"""Figures into a bundle: the card's metrics, and the model card (README.md) for people. Copies numbers from evaluation.json, makes none.

The model hash does not cover the card, so a measured bundle is the same model. Knows the contract and the measures' names.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model import contract
from model.contract import Card, ContractError
from training.files import replace_folder
from training.measures import table


def record(bundle: Path, evaluations: Mapping[str, Mapping[str, Any]]) -> Card:
    """Write the first evaluation into card.json and all of them, side by side, into README.md; sums renewed, folder renamed in.

    Raises ContractError when the first evaluation is of another model, or was quick (a sample is no figure).
    """
    bundle = bundle.resolve()
    card = contract.open_bundle(bundle).card
    own = next(iter(evaluations.values()))
    if own["bundle"]["model_hash"] != card.model_hash:
        raise ContractError("the evaluation is of another model")
    if own["quick"]:
        raise ContractError("a quick evaluation gives no figures: run it whole")
    metrics = {key: own[key] for key in ("split", "values", "rows", "judge", "seed")}
    card = dataclasses.replace(card, metrics=metrics)
    beside = Path(tempfile.mkdtemp(prefix=f".{bundle.name}-", dir=bundle.parent))
    try:
        shutil.copytree(bundle, beside, dirs_exist_ok=True)
        (beside / contract.CARD).write_text(card.to_json(), encoding="utf-8")
        (beside / contract.MODEL_CARD).write_text(model_card(card, table(evaluations)), encoding="utf-8")
        contract.write_sums(beside)
        contract.open_bundle(beside)
        replace_folder(beside, bundle)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return card


def model_card(card: Card, figures: str) -> str:
    """Markdown with Hugging Face front matter."""
    data, dims = card.data, card.dims
    licence = str(data.get("licence", "unknown"))
    shape = f"{dims.height}x{dims.width} {'grey' if dims.channels == 1 else 'RGB'}"
    has_flow = card.training.get("model", {}).get("flow_layers", 0) > 0
    method = "Zheng & Sun, CVPR 2019" + (", with a conditional flow\nthat makes z_u independent of the class" if has_flow else "")
    return f"""---
library_name: twofold
pipeline_tag: image-to-image
tags: [disentanglement, vae-gan, onnx]
datasets: [{json.dumps(str(data.get("origin") or data.get("name", "unknown")))}]
---

# {card.name}

A class/style model for {shape} pictures of {dims.classes} classes. An encoder takes a picture apart into a class code z_s
({dims.dim_s} numbers) and a style code z_u ({dims.dim_u} numbers); a decoder draws a picture from any pair of codes. Method: {method}.

* Classes: {", ".join(card.class_names)}
* Model hash: `{card.model_hash}` ({card.precision}, contract version {card.contract_version}, trained at revision {card.revision})
* Data: {data.get("origin") or data.get("name", "unknown")}, licence {licence}; {data.get("train_rows", "?")} training pictures,
  {data.get("validation_rows", "?")} of the training split held back for choosing

## Figures

Measured on the exported bundle, through the code that serves it (`x` marks a missed bar):

{figures}
## Limits

It knows {shape} pictures like those it was trained on; anything else is encoded as the nearest thing it knows (`typicality` in the
answer of `/encode` tells how usual a picture is). A style code holds what varies *within* classes of this data set, nothing more.
"""
