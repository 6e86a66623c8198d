"""Measures an exported bundle with the service's runtime: what is measured is what is served.

Knows the runtime, and nothing of networks, checkpoints or stages of a training. Choices are made on the validation
split; the test split is for figures. `metric_table.py` has the definitions, `thresholds.toml` the thresholds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from twofold.model import contract
from twofold.model.contract import Floats, Pixels
from twofold.service.runtime.array_api import Arrays, load_bundle
from twofold.service.runtime.engine import Encoded
from twofold.training.data.dataset import DataError, Pictures, group_of, load
from twofold.training.evaluation import ground_truth_swaps, predictors
from twofold.training.evaluation.eval_classifier import EvalClassifier, load_eval_classifier, split_validation_rows
from twofold.training.evaluation.formats import BundleId, ClassifierId, EvaluatedData, Evaluation, RowCounts, write
from twofold.training.evaluation.ground_truth_swaps import Labels, TruePairs
from twofold.training.evaluation.verdict import best_trivial, verdict
from twofold.training.metrics import image_metrics
from twofold.training.metrics import inpainting as inpaint
from twofold.training.metrics.compute_cost import file_bytes, multiply_adds
from twofold.training.metrics.probes import PROBES, chance, leak

SPLITS = ("test", "validation")
PAIRS, EXACT_PAIRS, TRIVIAL_PAIRS, HOLES = 10_000, 5_000, 1_000, 2_000
SAMPLERS: tuple[tuple[Literal["fitted", "paper"], str], ...] = (("fitted", ""), ("paper", "_paper"))  # with the suffix of its measures
QUICK_FIT_ROWS, QUICK_HELD_ROWS = 1_000, 300


@dataclass(frozen=True)
class Material:
    """All that the stages read. `fit` is what probes and tables learn from, `held` is what is measured."""

    model: Arrays
    eval_classifier: EvalClassifier
    prior: contract.Prior
    fit: Pictures
    held: Pictures
    fit_codes: Encoded
    held_codes: Encoded
    pairs: int
    seed: int

    def rng(self, purpose: int) -> np.random.Generator:
        """Its own stream for every purpose, so that one stage's draws do not move another's."""
        return np.random.default_rng([self.seed, purpose])

    def true_pairs(self) -> TruePairs | None:
        """The pairs of the exact swaps, the same at every call; None where the data set has no truth of them."""
        return ground_truth_swaps.true_pairs(self.fit, self.held, min(self.pairs, EXACT_PAIRS), self.rng(6))


def evaluate(
    bundle: Path,
    data: Path,
    eval_classifier: Path,
    out: Path,
    split: str = "test",
    quick: bool = False,
    seed: int = 0,
    log: Callable[[str], object] = print,
    stages: Sequence[str] | None = None,
) -> Evaluation:
    """Measure `bundle` on a split of `data`, write the result to the file `out` as JSON and return it.

    On "test" the probes learn from the whole training split; on "validation" from its other rows. `quick` takes a sample of
    the rows and says so in the result: for tests, not for figures. `stages` are names of STAGES (None: all), for a model that
    some of them say nothing of. Raises DataError, ContractError, ValueError.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}")
    started = time.monotonic()
    files, classifier = contract.open_bundle(bundle), load_eval_classifier(eval_classifier)
    fit, held = pictures(data, split, files.card, classifier, seed, quick)
    model = open_model(bundle)
    pairs = len(held) if quick else PAIRS
    material = Material(model, classifier, files.prior, fit, held, model.encode(fit.pixels), model.encode(held.pixels), pairs, seed)
    encoded = round(time.monotonic() - started, 1)
    values, seconds = _measure(material, stages or tuple(STAGES), log)
    values = {**_cost(files.decoder, bundle), **values}
    trivial: Mapping[str, Mapping[str, float]] = {}
    if stages is None or "swaps" in stages:
        since = time.monotonic()
        trivial = trivial_swaps(material)
        seconds["trivial_swaps"] = round(time.monotonic() - since, 1)
    best = best_trivial(trivial)
    if best and "swap_psnr_blurred" in values:
        values["swap_blurred_gain"] = values["swap_psnr_blurred"] - best[1]
    result = Evaluation(
        bundle=BundleId(files.card.name, files.card.model_hash),
        data=EvaluatedData(held.source["name"], fit.source, held.source),
        split=split,
        quick=quick,
        seed=seed,
        rows=RowCounts(fit=len(fit), held=len(held), pairs=pairs, generated=len(held)),
        eval_classifier=ClassifierId(classifier.card.hash, values["eval_classifier_accuracy"]),
        values=values,
        predictors=trivial,
        verdict=verdict(values, trivial, held.source["name"]),
        bytes=file_bytes(bundle),
        seconds={"load_and_encode": encoded, **seconds, "total": round(time.monotonic() - started, 1)},
    )
    write(out, result)
    return result


def _measure(m: Material, stages: Sequence[str], log: Callable[[str], object]) -> tuple[dict[str, float], dict[str, float]]:
    """All values of the stages, and the seconds of each."""
    values: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for name in stages:
        since = time.monotonic()
        found = STAGES[name](m)
        values |= found
        seconds[name] = round(time.monotonic() - since, 1)
        if found:
            log(f"{name} ({seconds[name]} s): " + ", ".join(f"{key} {value:.4g}" for key, value in found.items()))
    return values, seconds


def open_model(bundle: Path) -> Arrays:
    """The bundle as it is served. Raises ContractError."""
    return load_bundle(bundle)


def pictures(
    data: Path, split: str, card: contract.Card, eval_classifier: EvalClassifier, seed: int = 0, quick: bool = False
) -> tuple[Pictures, Pictures]:
    """(what probes learn from, what is measured). Raises DataError for a bundle, data and a classifier that do not belong together."""
    group = group_of(card.data)
    fit = load(data, "train", card.dims, card.preprocessing, group)
    classifier = eval_classifier.card
    if group_of(classifier.data.train) != group:
        raise DataError(
            f"bundle and evaluation classifier must be of one split: the groups are {group or 'none'!r} and "
            f"{group_of(classifier.data.train) or 'none'!r}"
        )
    if classifier.data.train["files"] != fit.source["files"] or list(card.class_names) != list(fit.class_names):
        raise DataError(
            "bundle, data and evaluation classifier must have the same classes, "
            "and the evaluation classifier must come from these training pictures"
        )
    if classifier.shape != fit.pixels.shape[1:]:
        raise DataError("the evaluation classifier was trained on pictures of another size than the bundle's")
    if split == "test":
        held = load(data, "test", card.dims, card.preprocessing, group)
    else:
        # the rows that both the evaluation classifier and the model held back: a smaller cut is part of a larger one
        held_back = classifier.config.validation_rows
        fit, held = split_validation_rows(fit, min(held_back, card.data.get("validation_rows", held_back)))
    if quick:
        rng = np.random.default_rng(seed)
        fit, held = (p.take(rng.permutation(len(p))[:n]) for p, n in ((fit, QUICK_FIT_ROWS), (held, QUICK_HELD_ROWS)))
    return fit, held


# ------------------------------------------------------------------------------------------------------------ stages


def reading(m: Material) -> dict[str, float]:
    """What the encoders read in held-out pictures, and how close the reconstructions are."""
    right = m.held_codes.class_log_prob.argmax(1) == m.held.labels
    drawn = m.model.decode(m.held_codes.z_s, m.held_codes.z_u_mean)
    error = float(image_metrics.mean_square_error(m.held.pixels, drawn).mean())
    gap = image_metrics.mahalanobis_gap(m.held_codes.z_s.astype(np.float64), m.held.labels, m.prior.fit_means, m.prior.fit_scale_tril)
    return {
        "class_accuracy": float(right.mean()),
        "eval_classifier_accuracy": float((m.eval_classifier.classify(m.held.pixels)[0] == m.held.labels).mean()),
        "reconstruction_psnr": float(image_metrics.psnr(error)),
        "reconstruction_ssim": float(image_metrics.ssim(m.held.pixels, drawn).mean()),
        "reconstruction_mse": error,
        "typicality_gap": float(gap.mean()),
        **({"typicality_gap_read": float(gap[right].mean())} if right.any() else {}),
    }


def swaps(m: Material) -> dict[str, float]:
    """Swaps of random pairs: is the class of a kept, does the style of b move into them, is it read back."""
    rng = m.rng(1)
    a, b = rng.integers(0, len(m.held), (2, m.pairs))
    swapped = m.model.swap(m.held.pixels[a], m.held.pixels[b])
    seen, label_a, label_b = m.eval_classifier.classify(swapped)[0], m.held.labels[a], m.held.labels[b]
    kept, different = seen == label_a, label_a != label_b
    read = m.model.encode(swapped)
    values = {
        "class_kept": float(kept.mean()),
        "class_kept_read": float((seen == m.held_codes.class_log_prob[a].argmax(1)).mean()),
        "class_kept_own": float((read.class_log_prob.argmax(1) == label_a).mean()),
        "class_kept_different": float(kept[different].mean()),
        **style_moved(m, swapped, a, b),
        "spectrum_log_ratio_swaps": image_metrics.spectrum_log_ratio(swapped, m.held.pixels),
    }
    again, codes = read.z_u_mean, m.held_codes.z_u_mean
    used = image_metrics.active(codes)
    values["style_kept_retrieval"] = image_metrics.retrieval(again, codes, b, rng)
    values["style_kept_r"] = image_metrics.dimension_r(again, codes[b], used)
    return values | {"active_dims": float(used.sum())}


def style_moved(m: Material, swapped: Pixels, a: Labels, b: Labels) -> dict[str, float]:
    """Pearson r of every style statistic of the swaps [N, H, W, C] of held-out rows with that of b, and with that of a."""
    values = {}
    label_a, label_b = m.held.labels[a], m.held.labels[b]
    for name, statistic in image_metrics.STATISTICS.items():
        table = image_metrics.class_table(statistic(m.fit.pixels), m.fit.labels, len(m.fit.class_names))
        real, moved = statistic(m.held.pixels), image_metrics.standardise(statistic(swapped), label_a, table)
        values[f"{name}_moved"] = image_metrics.pearson(image_metrics.standardise(real[b], label_b, table), moved)
        values[f"{name}_from_class"] = image_metrics.pearson(image_metrics.standardise(real[a], label_a, table), moved)
    return values


def trivial_swaps(m: Material) -> dict[str, dict[str, float]]:
    """What trivial predictors of a swap reach: class and style in random pairs; nearness to the truth where the data set has it."""
    a, b = m.rng(7).integers(0, len(m.held), (2, min(m.pairs, TRIVIAL_PAIRS)))
    found = {}
    for name, draw in predictors.of_pairs(m.fit, m.held, a, b).items():
        drawn = np.asarray(draw(np.arange(len(a))).round(), np.uint8)
        kept = float((m.eval_classifier.classify(drawn)[0] == m.held.labels[a]).mean())
        found[name] = {"class_kept": kept, **style_moved(m, drawn, a, b)}
    pairs = m.true_pairs()
    if pairs is not None:
        draws = predictors.of_pairs(m.fit, m.held, pairs.a, pairs.b) | predictors.of_groups(m.fit, pairs, m.rng(8))
        found = {name: {**ground_truth_swaps.figures(draw, pairs), **found.get(name, {})} for name, draw in draws.items()}
    return found


def generation(m: Material) -> dict[str, float]:
    """As many pictures as are held out, of the same class mix, by both samplers, beside real ones."""
    labels, (_, features) = m.held.labels, m.eval_classifier.classify(m.held.pixels)
    pixel_variance = image_metrics.within_class_variance(m.held.pixels, labels)
    feature_variance = image_metrics.within_class_variance(features, labels)
    others = m.rng(2).permutation(len(m.fit))[: len(m.held)]
    values = {
        "frechet_real": image_metrics.frechet(m.eval_classifier.classify(m.fit.pixels[others])[1], features),
        "intra_class_ssim_real": image_metrics.intra_class_ssim(m.held.pixels, labels, m.rng(3)),
        "spectrum_log_ratio_real": image_metrics.spectrum_log_ratio(m.fit.pixels[others], m.held.pixels),
    }
    for sampler, suffix in SAMPLERS:
        drawn = m.model.decode(*m.model.sample(labels, seed=m.seed, sampler=sampler))
        seen, drawn_features = m.eval_classifier.classify(drawn)
        values |= {
            f"class_consistency{suffix}": float((seen == labels).mean()),
            f"frechet{suffix}": image_metrics.frechet(drawn_features, features),
            f"pixel_variance_ratio{suffix}": image_metrics.within_class_variance(drawn, labels) / pixel_variance,
            f"feature_variance_ratio{suffix}": image_metrics.within_class_variance(drawn_features, labels) / feature_variance,
            f"spectrum_log_ratio{suffix}": image_metrics.spectrum_log_ratio(drawn, m.held.pixels),
            f"intra_class_ssim{suffix}": image_metrics.intra_class_ssim(drawn, labels, m.rng(3)),
        }
    return values


def inpainting(m: Material) -> dict[str, float]:
    """A random quarter of some held-out pictures is cut out and filled by the service, beside the mean training picture in its place."""
    rng = m.rng(5)
    real = m.held.pixels[rng.permutation(len(m.held))[:HOLES]]
    holes = inpaint.quarter_holes(len(real), real.shape[1], real.shape[2], rng)
    mean = m.fit.pixels.mean(0).round().astype(np.uint8)
    return {
        "inpainting_psnr": inpaint.hole_psnr(real, m.model.inpaint(real, holes), holes),
        "inpainting_psnr_mean": inpaint.hole_psnr(real, np.broadcast_to(mean, real.shape), holes),
    }


def leak_of_means(m: Material) -> dict[str, float]:
    """Can a fresh probe read the class from the style code's means."""
    fit, held = m.fit_codes.z_u_mean, m.held_codes.z_u_mean
    found = {f"leak_{kind}": leak(kind, fit, m.fit.labels, held, m.held.labels, m.seed) for kind in PROBES}
    worst, least = max(found.values()), chance(m.held.labels)
    return {"chance": least, **found, "leak_worst": worst, "leak_excess": worst - least}


def leak_of_samples(m: Material) -> dict[str, float]:
    """The same from one draw of the style code per picture."""
    rng = m.rng(4)

    def draw(codes: Encoded) -> Floats:
        noise = rng.standard_normal(codes.z_u_mean.shape, dtype=np.float32)
        return np.asarray(codes.z_u_mean + np.exp(codes.z_u_log_var / 2) * noise, np.float32)

    return {"leak_mlp_sampled": leak("mlp", draw(m.fit_codes), m.fit.labels, draw(m.held_codes), m.held.labels, m.seed)}


def exact_swaps(m: Material) -> dict[str, float]:
    """Swaps beside the true picture, where the data set has it; else nothing."""
    pairs = m.true_pairs()
    if pairs is None:
        return {}
    found = ground_truth_swaps.exact_swaps(m.model, pairs, m.held, m.held_codes)
    return found | ground_truth_swaps.probes(m.fit, m.held, m.fit_codes, m.held_codes, m.seed)


STAGES: dict[str, Callable[[Material], dict[str, float]]] = {
    stage.__name__: stage for stage in (reading, swaps, generation, inpainting, leak_of_means, leak_of_samples, exact_swaps)
}


def _cost(decoder: bytes, bundle: Path) -> dict[str, float]:
    return {"decoder_multiply_adds_m": multiply_adds(decoder)["total"] / 1e6, "bundle_mb": file_bytes(bundle)["total"] / 1e6}
