"""The measures by name: what each means, the thresholds it is compared with, and the table that lays bundles side by side.

Computes nothing: `evaluate.py` fills the values. `thresholds.toml` has the thresholds of the bundles that ship, by their data set.
"""

from __future__ import annotations

import math
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from twofold.training.evaluation.formats import EvaluatedData, Evaluation

THRESHOLDS = Path(__file__).with_name("thresholds.toml")
OWN_FOLDER = "own-folder"  # the thresholds of a data set that has none of its own


@dataclass(frozen=True)
class Measure:
    """One line of the table. `real` names the value that real pictures, or codes that hold nothing, get in the same run."""

    key: str
    title: str
    definition: str
    real: str | None = None
    decimals: int = 3
    term: str = ""  # the field's name for what `title` says in short

    @property
    def name(self) -> str:
        """The title, with the field's term beside it."""
        return f"{self.title} ({self.term})" if self.term else self.title


@dataclass(frozen=True)
class Range:
    """least <= value <= most."""

    least: float = -math.inf
    most: float = math.inf

    def holds(self, value: float) -> bool:
        return self.least <= value <= self.most

    def worst(self, values: Sequence[float]) -> float:
        """The value that comes nearest to leaving the range, or is farthest outside."""
        return min(values, key=lambda value: min(value - self.least, self.most - value))

    def __str__(self) -> str:
        if math.isinf(self.most):
            return f">= {self.least:g}"
        return f"<= {self.most:g}" if math.isinf(self.least) else f"{self.least:g} to {self.most:g}"


@dataclass(frozen=True)
class Thresholds:
    """What a shipped bundle must reach, and what it should reach; None: anything."""

    threshold: Range | None
    target: Range | None


@cache
def thresholds() -> Mapping[str, Mapping[str, Thresholds]]:
    """{data set: {measure: thresholds}} of thresholds.toml."""
    return TypeAdapter(dict[str, dict[str, Thresholds]]).validate_python(tomllib.loads(THRESHOLDS.read_text(encoding="utf-8")))


def thresholds_of(data: str) -> Mapping[str, Thresholds]:
    """{measure: thresholds} of a data set by its name."""
    return thresholds().get(data, thresholds()[OWN_FOLDER])


_PROBE = "accuracy of a fresh probe on z_u, standardised by the training codes, fitted to the training split: "
_SWAP = "swaps G(z_s(a), z_u(b)) of random pairs "
_LEAK, _KEPT, _MOVED = "class leakage", "class preservation", "style transfer correlation"
MEASURES = (
    Measure("class_accuracy", "class accuracy", "argmax of the mixture posterior on z_s", "eval_classifier_accuracy"),
    Measure("leak_linear", "leak, linear", _PROBE + "logistic regression on the means", "chance", term=_LEAK),
    Measure("leak_mlp", "leak, MLP 256-256", _PROBE + "MLP with early stopping on the means", "chance", term=_LEAK),
    Measure("leak_mlp_512", "leak, MLP 512-512", _PROBE + "MLP of 25 epochs on the means", "chance", term=_LEAK),
    Measure("leak_dcodr", "leak, six layers of 64", _PROBE + "the MLP of DCoDR on the means", "chance", term=_LEAK),
    Measure("leak_overlord", "leak, penalised MLP 256-256", _PROBE + "the MLP of OverLORD on the means", "chance", term=_LEAK),
    Measure("leak_worst", "leak, worst of all probes", "the greatest of the five above", "chance", term=_LEAK),
    Measure("leak_excess", "... above chance", "leak, worst of all probes, less chance"),
    Measure("leak_mlp_sampled", "leak, MLP on sampled z_u", _PROBE + "MLP 256-256 on one draw per picture", "chance", term=_LEAK),
    Measure(
        "class_kept",
        "class kept, of the true class",
        "share of " + _SWAP + "that the evaluation classifier gives the class of a",
        "eval_classifier_accuracy",
        term=_KEPT,
    ),
    Measure("class_kept_read", "class kept, of the class read", "the same against the class that the encoder read in a", term=_KEPT),
    Measure("class_kept_own", "class kept, by the model's own encoder", "the same by the encoder: the decoder learned from it", term=_KEPT),
    Measure("class_kept_different", "class kept, pairs of different classes", "the same over pairs of different classes", term=_KEPT),
    Measure(
        "brightness_moved",
        "style moved, brightness r",
        "Pearson r of the statistic in b and in the swap, each per class standardised",
        term=_MOVED,
    ),
    Measure("brightness_from_class", "... r with the class source", "the same r against a: should be near 0"),
    Measure("slant_moved", "style moved, slant r", "as brightness, by second moments", term=_MOVED),
    Measure("slant_from_class", "... r with the class source", "as brightness"),
    Measure("stroke_width_moved", "style moved, stroke width r", "as brightness, 2 * ink / outline", term=_MOVED),
    Measure("stroke_width_from_class", "... r with the class source", "as brightness"),
    Measure("style_kept_retrieval", "style kept, retrieval of b in 100", "z_u read from the swap finds that of b among 100 by cosine"),
    Measure("style_kept_r", "style kept, r per dimension", "mean Pearson r of z_u read from the swap and of b, active dimensions"),
    Measure(
        "swap_psnr",
        "exact swap, PSNR, dB",
        "swaps of held-out pairs of two classes and styles beside the true picture, where the data set has it",
        decimals=1,
    ),
    Measure("swap_psnr_blurred", "... both blurred, dB", "the same after a Gaussian blur of 2 pixels", decimals=1),
    Measure("swap_blurred_gain", "... above trivial, dB", "that less the best of class mean and copies of the two sources", decimals=1),
    Measure(
        "swap_truth_rank",
        "exact swap, rank of the truth",
        "median share of the other held-out pictures of its class that are nearer to the swap than the truth",
        "half",
    ),
    Measure("swap_psnr_gap", "... below the reconstruction, dB", "reconstruction PSNR less that", decimals=1),
    Measure("style_exact", "exact swap, style found", "the nearest picture of all of its class is the true one, pixel for pixel", "one"),
    Measure("style_near", "... nearly", "the nearest picture is within MSE 0.003 of the true one", "one"),
    Measure("style_group", "... roughly", "the nearest picture has the true action and direction", "one"),
    Measure(
        "style_group_from_class", "style read from z_s, roughly", "fresh MLP 256-256 on z_s: action and direction", "style_group_chance"
    ),
    Measure(
        "leak_mlp_mixed",
        "leak, MLP 256-256, random split",
        "the same probe on z_u where both splits are mixed and cut at random",
        "chance",
        term=_LEAK,
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
        "frechet",
        "Fréchet distance (evaluation classifier)",
        "on its penultimate features; not comparable with Inception FID",
        "frechet_real",
    ),
    Measure(
        "frechet_paper", "Fréchet distance (evaluation classifier), paper's sampler", "the same with the learned Gaussians", "frechet_real"
    ),
    Measure(
        "spectrum_log_ratio",
        "texture of samples, spectrum log ratio",
        "mean over spatial frequencies of |ln(power of generated / power of held-out pictures)|",
        "spectrum_log_ratio_real",
    ),
    Measure("spectrum_log_ratio_paper", "... paper's sampler", "the same with the learned Gaussians", "spectrum_log_ratio_real"),
    Measure("spectrum_log_ratio_swaps", "texture of swaps, spectrum log ratio", "the same of swaps", "spectrum_log_ratio_real"),
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


@dataclass(frozen=True)
class Line:
    """One measure over several evaluations, in their order; None where it was not measured. `real` as `Measure.real`."""

    measure: Measure
    values: tuple[float | None, ...]
    real: float | None
    threshold: Range | None
    target: Range | None


def lines(evaluations: Sequence[Evaluation]) -> list[Line]:
    """The measures that some evaluation has, with real data and thresholds.

    Raises ValueError for none, or for evaluations with different data, split or evaluation classifier: their figures do not compare.
    """
    if not evaluations or any(_conditions(evaluation) != _conditions(evaluations[0]) for evaluation in evaluations):
        raise ValueError("evaluations are comparable only on the same data, split and evaluation classifier")
    first = evaluations[0]
    known, real_values = thresholds_of(first.data.name), {"one": 1.0, "half": 0.5, **first.values}
    found = []
    for measure in MEASURES:
        values = tuple(evaluation.values.get(measure.key) for evaluation in evaluations)
        if any(value is not None for value in values):
            own = known.get(measure.key, Thresholds(None, None))
            found.append(Line(measure, values, real_values.get(measure.real or ""), own.threshold, own.target))
    return found


def _conditions(evaluation: Evaluation) -> tuple[EvaluatedData, str, str]:
    """What two evaluations must have in common."""
    return evaluation.data, evaluation.split, evaluation.eval_classifier.hash


def table(evaluations: Mapping[str, Evaluation], seeds: Sequence[Evaluation] = ()) -> str:
    """Markdown: a line per measure, a column per evaluation, beside real data, threshold and target; x marks a missed threshold.

    `evaluations` maps a column's title to what `evaluate` returned. `seeds` are evaluations of the first column's configuration
    trained from other seeds: they add its mean and deviation, and the worst of them all. Raises ValueError as `lines`.
    """
    runs = list(evaluations.values())
    found = lines([*runs, *seeds])
    titles = [title + (" (quick)" if run.quick else "") for title, run in evaluations.items()]
    if seeds:
        titles[1:1] = [f"mean of {1 + len(seeds)} seeds", f"worst of {1 + len(seeds)}"]
    heads = ["measure", "real", *titles, "threshold", "target"]
    rows = [_cells(line, len(runs), bool(seeds)) for line in found]
    return "\n".join([_row(*heads), _row("---", *["---:"] * (len(heads) - 1)), *(_row(*row) for row in rows), "", _foot(runs[0])]) + "\n"


def summary(evaluations: Mapping[str, Evaluation], seeds: Sequence[Evaluation] = ()) -> str:
    """Markdown: the `table`, and of the first evaluation the trivial predictors and the verdict. Raises ValueError as `lines`."""
    own = next(iter(evaluations.values()))
    verdict = f"Verdict{' on a sample' if own.quick else ''}: {own.verdict.text}\n"
    return "\n".join(part for part in (table(evaluations, seeds), predictors_table(own), verdict) if part)


PREDICTED = (  # measures that trivial predictors have too, and where their column is narrow
    ("swap_psnr", "raw dB", 1),
    ("swap_psnr_blurred", "blurred dB", 1),
    ("swap_truth_rank", "median rank", 3),
    ("class_kept", "class kept", 3),
    ("brightness_moved", "brightness r", 2),
    ("slant_moved", "slant r", 2),
    ("stroke_width_moved", "stroke width r", 2),
)


def predictor_rows(evaluation: Evaluation) -> list[list[str]]:
    """Swaps by the model and by the trivial predictors beside it: a row of heads, then a row each; [] where they were not measured."""
    if not evaluation.predictors:
        return []
    rows = {evaluation.bundle.name: evaluation.values, **evaluation.predictors}
    shown = [column for column in PREDICTED if any(column[0] in values for values in rows.values())]
    cells = [[name, *(f"{values[k]:.{n}f}" if k in values else "" for k, _, n in shown)] for name, values in rows.items()]
    return [["swaps by", *(title for _, title, _ in shown)], *cells]


def predictors_table(evaluation: Evaluation) -> str:
    """`predictor_rows` as Markdown; "" where there are none."""
    found = predictor_rows(evaluation)
    if not found:
        return ""
    return "\n".join([_row(*found[0]), _row("---", *["---:"] * (len(found[0]) - 1)), *(_row(*row) for row in found[1:])]) + "\n"


def _cells(line: Line, runs: int, with_seeds: bool) -> list[str]:
    values = [_cell(value, line.measure, line.threshold) for value in line.values[:runs]]
    if with_seeds:
        values[1:1] = _spread([line.values[0], *line.values[runs:]], line)
    limits = ["" if limit is None else str(limit) for limit in (line.threshold, line.target)]
    return [line.measure.name, _cell(line.real, line.measure, None), *values, *limits]


def _foot(evaluation: Evaluation) -> str:
    classifier, rows = evaluation.eval_classifier, evaluation.rows.held
    return (
        f"{evaluation.split} split, {rows} pictures; "
        f"evaluation classifier {classifier.hash[:8]} is right in {classifier.accuracy:.3f} of them."
    )


def _spread(values: Sequence[float | None], line: Line) -> list[str]:
    """Mean and deviation over seeds, and the worst of them where there is a threshold."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ["", ""]
    decimals = line.measure.decimals
    mean = f"{statistics.mean(known):.{decimals}f} ± {statistics.stdev(known):.{decimals}f}"
    return [mean, "" if line.threshold is None else _cell(line.threshold.worst(known), line.measure, line.threshold)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: float | None, measure: Measure, threshold: Range | None) -> str:
    if value is None:
        return ""
    return f"{value:.{measure.decimals}f}" + (" x" if threshold and not threshold.holds(value) else "")
