"""The measures by name: what each means, the bars it is held against, and the table that lays bundles side by side.

Computes nothing: `evaluate.py` fills the values. Bars are those of the bundles that ship, by the name of their data set.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """One line of the table. `real` names the value that real pictures, or worthless codes, get in the same run."""

    key: str
    title: str
    definition: str
    real: str | None = None
    decimals: int = 3


@dataclass(frozen=True)
class Bar:
    """low <= value <= high."""

    low: float = -math.inf
    high: float = math.inf

    def met(self, value: float) -> bool:
        return self.low <= value <= self.high

    def worst(self, values: Sequence[float]) -> float:
        """The value that comes nearest to missing the bar, or misses it by most."""
        return min(values, key=lambda value: min(value - self.low, self.high - value))

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f">= {self.low:g}"
        return f"<= {self.high:g}" if math.isinf(self.low) else f"{self.low:g} to {self.high:g}"


_PROBE = "accuracy of a fresh probe on z_u, standardised by the training codes, fitted to the training split: "
_SWAP = "swaps G(z_s(a), z_u(b)) of random pairs "
MEASURES = (
    Measure("class_accuracy", "class accuracy", "argmax of the mixture posterior on z_s", "eval_classifier_accuracy"),
    Measure("leak_linear", "leak, linear", _PROBE + "logistic regression on the means", "chance"),
    Measure("leak_mlp", "leak, MLP 256-256", _PROBE + "MLP with early stopping on the means", "chance"),
    Measure("leak_mlp_512", "leak, MLP 512-512", _PROBE + "MLP of 25 epochs on the means", "chance"),
    Measure("leak_mlp_sampled", "leak, MLP on sampled z_u", _PROBE + "MLP 256-256 on one draw per picture", "chance"),
    Measure(
        "class_kept",
        "class kept, of the true class",
        "share of " + _SWAP + "that the evaluation classifier gives the class of a",
        "eval_classifier_accuracy",
    ),
    Measure("class_kept_read", "class kept, of the class read", "the same against the class that the encoder read in a"),
    Measure("class_kept_different", "class kept, pairs of different classes", "the same over pairs of different classes"),
    Measure(
        "brightness_moved", "style moved, brightness r", "Pearson r of the statistic in b and in the swap, each per class standardised"
    ),
    Measure("brightness_from_class", "... r with the class source", "the same r against a: should be near 0"),
    Measure("slant_moved", "style moved, slant r", "as brightness, by second moments"),
    Measure("slant_from_class", "... r with the class source", "as brightness"),
    Measure("stroke_width_moved", "style moved, stroke width r", "as brightness, 2 * ink / outline"),
    Measure("stroke_width_from_class", "... r with the class source", "as brightness"),
    Measure("style_kept_retrieval", "style kept, retrieval of b in 100", "z_u read from the swap finds that of b among 100 by cosine"),
    Measure("style_kept_r", "style kept, r per dimension", "mean Pearson r of z_u read from the swap and of b, active dimensions"),
    Measure(
        "swap_psnr",
        "exact swap, PSNR, dB",
        "swaps of held-out pairs beside the true picture, where the data set has it; beside class mean + style mean - mean",
        "swap_psnr_means",
        1,
    ),
    Measure("swap_psnr_gap", "... below the reconstruction, dB", "reconstruction PSNR less that", decimals=1),
    Measure("style_exact", "exact swap, style found", "the nearest picture of all of its class is the true one, pixel for pixel", "one"),
    Measure("style_near", "... nearly", "the nearest picture is within MSE 0.003 of the true one", "one"),
    Measure("style_group", "... roughly", "the nearest picture has the true action and direction", "one"),
    Measure(
        "style_group_from_class", "style read from z_s, roughly", "fresh MLP 256-256 on z_s: action and direction", "style_group_chance"
    ),
    Measure(
        "leak_mlp_mixed", "leak, MLP 256-256, random split", "the same probe on z_u where both splits are mixed and cut at random", "chance"
    ),
    Measure(
        "class_consistency",
        "class consistency",
        "share of generated pictures that the evaluation classifier gives the asked class",
        "eval_classifier_accuracy",
    ),
    Measure(
        "class_consistency_paper", "class consistency, paper's sampler", "the same with the learned Gaussians", "eval_classifier_accuracy"
    ),
    Measure(
        "frechet", "Fréchet distance (judge)", "on the evaluation classifier's features; not comparable with Inception FID", "frechet_real"
    ),
    Measure("frechet_paper", "Fréchet distance (judge), paper's sampler", "the same with the learned Gaussians", "frechet_real"),
    Measure("pixel_variance_ratio", "pixel variance within class, ratio to real", "generated against real pictures", "one"),
    Measure("feature_variance_ratio", "feature variance within class, ratio to real", "on the evaluation classifier's features", "one"),
    Measure("intra_class_ssim", "SSIM of pairs within a class", "generated; lower is more varied", "intra_class_ssim_real"),
    Measure("reconstruction_psnr", "reconstruction PSNR, dB", "of the mean square error over the split", decimals=1),
    Measure("reconstruction_ssim", "reconstruction SSIM", "11 pixel Gaussian window, mean over pictures", "one"),
    Measure("reconstruction_mse", "reconstruction MSE", "pixels in [0, 1]", decimals=4),
    Measure(
        "inpainting_psnr",
        "inpainting PSNR, dB",
        "inside a random hole of a quarter of the area, by encoding again and again; beside the mean training picture in the hole",
        "inpainting_psnr_mean",
        1,
    ),
    Measure("typicality_gap", "typicality gap", "E[Mahalanobis^2] / D_s of held-out z_s under the refitted Gaussian of its class", "one"),
    Measure("typicality_gap_read", "... of those read right", "the same over the pictures whose class E_s reads", "one"),
    Measure("decoder_multiply_adds_m", "decoder, million multiply-adds", "counted on the ONNX graph, flow included", decimals=2),
    Measure("bundle_mb", "bundle, MB", "all files", decimals=2),
)


def _least(bar: float, stretch: float) -> tuple[Bar, Bar]:
    return Bar(low=bar), Bar(low=stretch)


def _most(bar: float, stretch: float) -> tuple[Bar, Bar]:
    return Bar(high=bar), Bar(high=stretch)


def _near_zero(bar: float, stretch: float) -> tuple[Bar, Bar]:
    return Bar(-bar, bar), Bar(-stretch, stretch)


# {data set: {measure: (bar, stretch)}}
BARS: Mapping[str, Mapping[str, tuple[Bar, Bar]]] = {
    "fashion_mnist": {
        "class_accuracy": _least(0.92, 0.935),
        "leak_linear": _most(0.12, 0.11),
        "leak_mlp": _most(0.25, 0.15),
        "leak_mlp_512": _most(0.32, 0.20),
        "leak_mlp_sampled": _most(0.28, 0.18),
        "class_kept": _least(0.87, 0.91),
        "class_kept_read": _least(0.92, 0.95),
        "brightness_moved": _least(0.55, 0.75),
        "style_kept_retrieval": _least(0.65, 0.85),
        "style_kept_r": _least(0.68, 0.85),
        "class_consistency": _least(0.91, 0.95),
        "frechet": _most(1.4, 0.7),
        "pixel_variance_ratio": (Bar(0.8, 1.15), Bar(0.9, 1.1)),
        "reconstruction_psnr": _least(19.0, 21.0),
        "reconstruction_ssim": _least(0.64, 0.72),
        # 5 million for the decoder and 0.25 million for the flow in front of it
        "decoder_multiply_adds_m": (Bar(high=5.25), Bar(high=5.25)),
        "bundle_mb": (Bar(high=6), Bar(high=6)),
    },
    "mnist": {
        "class_accuracy": _least(0.990, 0.994),
        "leak_mlp": _most(0.30, 0.15),
        "leak_mlp_sampled": _most(0.20, 0.13),
        "class_kept_different": _least(0.97, 0.99),
        "slant_moved": _least(0.75, 0.9),
        "slant_from_class": _near_zero(0.1, 0.05),
        "stroke_width_moved": _least(0.6, 0.8),
        "stroke_width_from_class": _near_zero(0.1, 0.05),
        "class_consistency": _least(0.98, 0.99),
        "reconstruction_mse": _most(0.025, 0.016),
        "bundle_mb": (Bar(high=8), Bar(high=8)),
    },
    "lpc_sprites": {
        "class_accuracy": _least(0.985, 0.995),
        "leak_mlp": _most(0.15, 0.05),
        "leak_mlp_mixed": _most(0.20, 0.08),
        "style_group_from_class": _most(0.10, 0.08),
        "swap_psnr": _least(20.5, 23.5),
        "swap_psnr_gap": _most(1.3, 0.7),
        "style_exact": _least(0.42, 0.60),
        "style_near": _least(0.86, 0.96),
        "style_group": _least(0.93, 0.98),
        "class_kept": _least(0.97, 0.99),
        "decoder_multiply_adds_m": _most(35, 15),
        "bundle_mb": (Bar(high=8), Bar(high=8)),
    },
}


@dataclass(frozen=True)
class Line:
    """One measure over several evaluations, in their order; None where it was not measured. `real` as `Measure.real`."""

    measure: Measure
    values: tuple[float | None, ...]
    real: float | None
    bar: Bar | None
    stretch: Bar | None


def lines(evaluations: Sequence[Mapping[str, Any]]) -> list[Line]:
    """The measures that some evaluation.json holds, with real data and bars.

    Raises ValueError for none, or for evaluations with different data, split or judge: their figures are not comparable.
    """
    if not evaluations or any(
        (e["data"], e["split"], e["eval_classifier"]["hash"])
        != (evaluations[0]["data"], evaluations[0]["split"], evaluations[0]["eval_classifier"]["hash"])
        for e in evaluations
    ):
        raise ValueError("evaluations are comparable only on the same data, split and judge")
    bars = BARS.get(evaluations[0]["data"]["name"], {})
    found = []
    for measure in MEASURES:
        values = tuple(e["values"].get(measure.key) for e in evaluations)
        if any(value is not None for value in values):
            real = {"one": 1.0, **evaluations[0]["values"]}.get(measure.real or "")
            found.append(Line(measure, values, real, *bars.get(measure.key, (None, None))))
    return found


def table(evaluations: Mapping[str, Mapping[str, Any]], seeds: Sequence[Mapping[str, Any]] = ()) -> str:
    """Markdown: a line per measure, a column per evaluation.json, beside real data and the bars; x marks a missed bar.

    `evaluations` maps a column's title to what `evaluate` returned. `seeds` are evaluations of the first column's configuration
    trained from other seeds: they add its mean and deviation, and the worst of them all. Raises ValueError as `lines`.
    """
    runs = list(evaluations.values())
    found = lines([*runs, *seeds])
    titles = [title + (" (quick)" if run["quick"] else "") for title, run in evaluations.items()]
    if seeds:
        titles[1:1] = [f"mean of {1 + len(seeds)} seeds", f"worst of {1 + len(seeds)}"]
    text = [_row("measure", "real", *titles, "bar", "stretch"), _row("---", *["---:"] * (len(titles) + 3))]
    for line in found:
        cells = [_cell(value, line.measure, line.bar) for value in line.values[: len(runs)]]
        if seeds:
            cells[1:1] = _spread([line.values[0], *line.values[len(runs) :]], line)
        bars = ("" if bar is None else str(bar) for bar in (line.bar, line.stretch))
        text.append(_row(line.measure.title, _cell(line.real, line.measure, None), *cells, *bars))
    eval_classifier, rows = runs[0]["eval_classifier"], runs[0]["rows"]["held"]
    text += [
        "",
        f"{runs[0]['split']} split, {rows} pictures; judge {eval_classifier['hash'][:8]} is right in {eval_classifier['accuracy']:.3f} of them.",
    ]
    return "\n".join(text) + "\n"


def _spread(values: Sequence[float | None], line: Line) -> list[str]:
    """Mean and deviation over seeds, and the worst of them where there is a bar."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ["", ""]
    decimals = line.measure.decimals
    mean = f"{statistics.mean(known):.{decimals}f} ± {statistics.stdev(known):.{decimals}f}"
    return [mean, "" if line.bar is None else _cell(line.bar.worst(known), line.measure, line.bar)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: float | None, measure: Measure, bar: Bar | None) -> str:
    if value is None:
        return ""
    return f"{value:.{measure.decimals}f}" + (" x" if bar and not bar.met(value) else "")
