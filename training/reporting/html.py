"""A report to one self-contained HTML page: no script, no request, pictures as data: URIs. Its words are here and in templates/.

Knows what a report shows (`sections.py`) and what the measures are called; computes no figure.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from twofold.model.contract import Pixels
from twofold.training.evaluation.formats import Evaluation
from twofold.training.evaluation.metric_table import Line, predictor_rows
from twofold.training.reporting import charts, sections
from twofold.training.reporting.facts import ModelFacts
from twofold.training.reporting.sections import Grid
from twofold.training.trainer.objectives import OBJECTIVES
from twofold.training.trainer.run_dir import as_image

TEMPLATES = Path(__file__).parent / "templates"

# (heading, what it means in plain words, its measures); a measure that is in no group comes last
GROUPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Is the class of a picture read?", "Closer to 1 is better. A class that is misread cannot be kept in a swap.", ("class_accuracy",)),
    (
        "Is the style free of the class?",
        "A probe is trained to predict the class from the style code alone. Lower is better; chance is the least possible.",
        (
            *(f"leak_{kind}" for kind in ("linear", "mlp", "mlp_512", "dcodr", "overlord", "worst", "excess", "mlp_sampled", "mlp_mixed")),
            "style_group_from_class",
        ),
    ),
    (
        "Does a swap keep the class?",
        "Closer to 1 is better, but only together with the next question: a swap that changes nothing keeps the class too.",
        ("class_kept", "class_kept_read", "class_kept_own", "class_kept_different"),
    ),
    (
        "Does a swap carry the style over?",
        "1: the swap has the appearance of the style source. 0: it does not. The r with the class source should be near 0.",
        (
            *(f"{name}_{way}" for name in ("brightness", "slant", "stroke_width") for way in ("moved", "from_class")),
            "style_kept_retrieval",
            "style_kept_r",
            "swap_psnr",
            "swap_psnr_blurred",
            "swap_blurred_gain",
            "swap_truth_rank",
            "swap_psnr_gap",
            "style_exact",
            "style_near",
            "style_group",
        ),
    ),
    (
        "Can it generate new pictures?",
        "Are they of the class that was asked for, as varied as real ones and similar to them? A smaller Fréchet distance is better.",
        (
            *(f"{name}{sampler}" for name in ("class_consistency", "frechet", "spectrum_log_ratio") for sampler in ("", "_paper")),
            "spectrum_log_ratio_swaps",
            "pixel_variance_ratio",
            "feature_variance_ratio",
            "intra_class_ssim",
            "typicality_gap",
            "typicality_gap_read",
        ),
    ),
    (
        "Can it reconstruct a picture?",
        "A picture is encoded and decoded again. More decibels (dB) and an SSIM closer to 1 are better.",
        ("reconstruction_psnr", "reconstruction_ssim", "reconstruction_mse", "inpainting_psnr"),
    ),
    ("What does it cost to serve?", "Less is better.", ("decoder_multiply_adds_m", "bundle_mb")),
)

# (measure, what it means as the end of a sentence that begins with its value)
HEADLINES = (
    ("class_accuracy", "of real pictures are read as the class they are"),
    ("class_kept", "of swaps show the class that was asked for"),
    ("style_kept_retrieval", "of swaps lead back to their style source among 100 pictures (chance: 1%)"),
    ("leak_worst", "of classes are predicted from the style code alone; it should be near chance"),
    ("class_consistency", "of generated pictures show the class that was asked for"),
)

# what the column "compare with" holds, by the name of its value
REAL_WORDS = {
    "chance": "chance",
    "eval_classifier_accuracy": "evaluation classifier on real",
    "half": "without knowledge",
    "inpainting_psnr_mean": "mean fill",
    "one": "ideal",
}

PARTS = {
    "encoder_s": "class encoder",
    "encoder_u": "style encoder",
    "decoder": "decoder",
    "prior": "mean and deviation of the classes",
    "flow": "flow, which makes the style independent of the class",
    "discriminator": "discriminator of real and decoded pictures",
    "classifier": "classifier of the class from the style code",
}


@dataclass(frozen=True)
class ModelSection:
    """One model on the page: what report.json says of it, what is shown of it, and the lines of its log.jsonl ([]: there is none)."""

    facts: ModelFacts
    material: sections.Material
    samples: Grid
    swaps: Grid
    reconstructions: Grid
    interpolations: Sequence[sections.Interpolation]
    inpainted: Grid
    lost: Grid
    least_typical: Grid
    log: Sequence[Mapping[str, Any]]


def render(models: Sequence[ModelSection], lines: Sequence[Line], baselines: Sequence[Evaluation]) -> str:
    """The page. `lines` hold a value per model and then one per baseline, whose evaluations `baselines` are."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"uri": uri, "pretty": _pretty, "limit": lambda limit: str(limit).replace(">=", "≥").replace("<=", "≤")}
    return environment.get_template("report.html").render(
        models=models,
        predictor_rows=predictor_rows,
        baselines=[f"{baseline.bundle.name}@{baseline.bundle.model_hash[:8]}" for baseline in baselines],
        headlines=_headlines(lines, len(models)),
        groups=_groups(lines),
        value=_value,
        parts=PARTS,
        real_word=lambda line: REAL_WORDS.get(line.measure.real, "real pictures"),
        clouds=_clouds,
        confused=_confused,
        has_thresholds=any(line.threshold for line in lines),
        shown_rows=min(sections.ROWS, len(models[0].material.held)),
        swap_rows=sections.ROWS,
        heat=lambda e: charts.heat(np.array(e.facts.confusion), e.material.names),
        bands=lambda path, names: charts.bands(path.posterior, names),
        hue=charts.hue,
        progress=_progress,
        losses=_losses,
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
    )


def uri(pixels: Pixels) -> str:
    """Pixels uint8 [H, W, C] as the data: URI of a lossless WebP."""
    stream = io.BytesIO()
    as_image(pixels).save(stream, "WEBP", lossless=True, method=6)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _value(value: float | None, line: Line) -> str:
    return "" if value is None else f"{value:.{line.measure.decimals}f}"


def _groups(lines: Sequence[Line]) -> Iterator[tuple[str, str, list[Line]]]:
    named = {key for _, _, keys in GROUPS for key in keys}
    rest = tuple(line.measure.key for line in lines if line.measure.key not in named)
    for title, text, keys in (*GROUPS, ("Further measures", "", rest)):
        if found := [line for line in lines if line.measure.key in keys]:
            yield title, text, found


def _headlines(lines: Sequence[Line], models: int) -> list[tuple[Line, str]]:
    """The headlines that every model was measured for."""
    by_key = {line.measure.key: line for line in lines if None not in line.values[:models]}
    return [(by_key[key], text) for key, text in HEADLINES if key in by_key]


def _clouds(e: ModelSection) -> list[tuple[str, float, str]]:
    """(which code, share of its variance shown, the dots) for the class code and the style code."""
    rows = e.material.some(7)
    labels, names = e.material.held.labels[rows], e.material.names
    found = []
    for which, codes in (("class", e.material.codes.z_s), ("style", e.material.codes.z_u_mean)):
        points, share = sections.projection(codes[rows])
        found.append((which, share, charts.dots(points, labels, names, marked=which == "class")))
    return found


def _confused(e: ModelSection, count: int = 5) -> list[tuple[str, str, int, float]]:
    """The commonest mistakes: (real class, read as, how often, share of the real class)."""
    counts: NDArray[np.int64] = np.array(e.facts.confusion)
    wrong = Counter({(i, j): int(counts[i, j]) for i, j in np.argwhere(counts) if i != j})
    return [(e.material.names[i], e.material.names[j], n, n / counts[i].sum()) for (i, j), n in wrong.most_common(count)]


def _progress(log: Sequence[Mapping[str, Any]]) -> str:
    """The measurements on validation pictures over the whole run, every stage as wide as the others."""
    colours = {"class_accuracy": "class", "style_moved": "style", "leak": "bad"}
    series = {
        key: (colour, points)
        for key, colour in colours.items()
        if (points := [(f["stage_number"] - 1 + f["step"] / max(f["steps"], 1), f[key]) for f in log if key in f])
    }
    ticks = {f["stage_number"] - 1.0: str(f["stage"]) for f in log}
    return charts.lines(series, width=720, height=220, ticks=ticks) if series else ""


def _losses(log: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """(stage, [(loss, what it means, its curve)]) in the order of the run."""
    found = []
    for stage in dict.fromkeys(f["stage"] for f in log):
        mine = [f for f in log if f["stage"] == stage]
        curves = []
        for key in sorted({key for f in mine for key in f if key.startswith("loss_")}):
            name = key.removeprefix("loss_")
            points = [(f["step"], f[key]) for f in mine if key in f]
            curves.append((name, OBJECTIVES[name].words if name in OBJECTIVES else "", charts.lines({name: ("ink", points)})))
        found.append((stage, curves))
    return found
