"""The model card: README.md of a bundle, for people and for a hub. Pure: a card and a table in, Markdown out; computes no figure."""

from __future__ import annotations

import json
import re

from twofold.model.contract import Card

UNMEASURED = "Not measured yet: `twofold-train evaluate BUNDLE --data DATA --eval-classifier FOLDER --record` puts the figures here.\n"


def model_card(card: Card, figures: str = "") -> str:
    """Markdown with Hugging Face front matter; `figures` is the table of measures, empty for a bundle that was not measured."""
    data, dims = card.data, card.dims
    licence = str(data.get("licence", "unknown"))
    shape = f"{dims.height}x{dims.width} {'grey' if dims.channels == 1 else 'RGB'}"
    sizes = card.training.get("model", {})
    has_flow = sizes.get("flow_layers", 0) > 0 or sizes.get("flow_affine", False)
    method = "Zheng & Sun, CVPR 2019" + (", with a conditional flow\nthat makes z_u independent of the class" if has_flow else "")
    measured = f"Measured on the exported bundle, through the code that serves it (`x` marks a missed threshold):\n\n{figures}"
    origin = str(data.get("origin") or data.get("name", "unknown"))
    on_hub = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", origin, re.ASCII)  # a hub links these, and refuses what is no id
    return f"""---
library_name: twofold
pipeline_tag: image-to-image
tags: [disentanglement, vae-gan, onnx]
{f"datasets: [{json.dumps(origin)}]{chr(10)}" if on_hub else ""}---

# {card.name}

A class/style model for {shape} pictures of {dims.classes} classes. An encoder gives a class code z_s ({dims.dim_s} numbers) and a style
code z_u ({dims.dim_u} numbers); a decoder makes a picture of any pair of codes. Method: {method}.

* Classes: {", ".join(card.class_names)}
* Model hash: `{card.model_hash}` ({card.precision}, contract version {card.contract_version}, trained at revision {card.revision})
{_classifier(card)}* Data: {origin}, licence {licence}; {data.get("train_rows", "?")} training pictures,
  {data.get("validation_rows", "?")} of the training split held back for choosing

## Figures

{measured if figures else UNMEASURED}
## Limits

It was trained on {shape} pictures of this data set; any other picture is encoded as something like them (`typicality` in the answer
of `/encode` is how usual a picture is). A style code holds what varies *within* the classes of this data set, nothing more.
"""


def _classifier(card: Card) -> str:
    """The line on the evaluation classifier; nothing for a bundle without one."""
    accuracy = card.training.get("eval_classifier", {}).get("accuracy", {})
    measured = [split for split in ("validation", "test") if accuracy.get(split) is not None]
    figures = ", ".join(f"{accuracy[split]:.3f} of the {split} pictures" for split in measured)
    return f"* Evaluation classifier, independent of the model: right for {figures}\n" if figures else ""
