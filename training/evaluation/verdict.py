"""The verdict: what a model is good for, by its figures beside those of trivial predictors. Pure; measures nothing.

Swaps decide whether a model is usable at all. New pictures, and style codes that hold no class, are further uses that it may miss.
A figure of the model's own encoder never counts for it: the decoder was trained to please that encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twofold.training.evaluation.formats import Verdict
from twofold.training.evaluation.metric_table import OWN_FOLDER, Range, thresholds, thresholds_of
from twofold.training.metrics.trivial import CLASS_COPY, CLASS_MEAN, STYLE_COPY

Figures = Mapping[str, float]

STATISTICS = ("brightness_moved", "slant_moved", "stroke_width_moved")
COPIES = (CLASS_MEAN, STYLE_COPY, CLASS_COPY)  # what a swap must beat
MOVES, MOVES_COPY = 0.2, 0.5  # r of a swap that follows its style source at all; r of a copy where a statistic says something of the style
LEAST_ABLE, OF_ABLE = 0.7, 0.95  # accuracy below which a classifier decides nothing; share of it that counts as kept where it is weak
SHOWN = 2  # reasons in the text

LONGER = "give it more steps (`twofold-train init DATA --minutes M` with a greater M, or a smaller `--size`)"
MORE_STYLE = "raise the weight of `recon_sse` in the stage that trains encoder_u, so that the style code is used"
MORE_FLOW = "give the stage `flow` more epochs (`--set stage.N.epochs=E`)"
LESS_GAN = "lower the weights of `gen_rec`, `gen_swap` and `gen_smp` in the last stages, or give the stages before them more epochs"
SURER = "give the last stages more epochs, or sample with a class temperature below 1"
MORE_PICTURES = "add pictures, or merge classes that resemble each other, until `twofold-train eval-classifier` separates them"
WHOLE = "run `twofold-train evaluate` on a bundle with both encoders"


@dataclass(frozen=True)
class Fault:
    """A measure that misses what is asked of it: a clause with the amounts, and what mends it."""

    key: str
    clause: str
    mend: str


def verdict(values: Figures, predictors: Mapping[str, Figures], data: str = OWN_FOLDER) -> Verdict:
    """By `Evaluation.values` and `Evaluation.predictors`, against the thresholds of the data set `data`.

    Usable if swaps keep their class for the independent classifier, beat copies and class mean, and carry the style over. Of a model
    that makes no swaps, if new pictures are as asked for.
    """
    limits = _limits(data)
    swaps, new, codes = _swap_faults(values, predictors, limits), _sample_faults(values, limits), _leak_faults(values, limits)
    uses = {"swaps": swaps, "new pictures": new, "style codes that hold no class": codes}
    measured = {use: faults for use, faults in uses.items() if faults is not None}
    failed = [fault.key for faults in measured.values() for fault in faults]
    grave = measured.get("swaps", measured.get("new pictures"))
    if grave is None:
        return Verdict(False, f"Not usable, because neither swaps nor new pictures were measured: {WHOLE}.", ["class_kept"])
    if grave:
        text = f"Not usable, because {_clauses(grave)}. To mend it, {grave[0].mend}."
        return Verdict(False, text, failed)
    good = [use for use, faults in measured.items() if not faults]
    bad = {use: faults for use, faults in measured.items() if faults}
    text = f"Usable for {_listed(good)}"
    text += "".join(f"; not for {use}, because {_clauses(faults)}: to mend it, {faults[0].mend}" for use, faults in bad.items())
    return Verdict(True, text + ".", failed)


def _limits(data: str) -> dict[str, Range]:
    known = {**thresholds()[OWN_FOLDER], **thresholds_of(data)}
    return {key: own.threshold for key, own in known.items() if own.threshold is not None}


def _swap_faults(values: Figures, predictors: Mapping[str, Figures], limits: Mapping[str, Range]) -> list[Fault] | None:
    """What is wrong with swaps, the gravest first; None where they were not measured."""
    if "class_kept" not in values:
        return None
    faults = [_class_kept(values, limits), _trivial(values, predictors), _style(values, predictors, limits)]
    faults.append(_texture("spectrum_log_ratio_swaps", "swaps", values, limits))
    return [fault for fault in faults if fault]


def _class_kept(values: Figures, limits: Mapping[str, Range]) -> Fault | None:
    kept, able, own = values["class_kept"], values["eval_classifier_accuracy"], values["class_kept_own"]
    if able < LEAST_ABLE:
        clause = f"the independent classifier is right in no more than {able:.2f} of real pictures, so that it cannot say what swaps show"
        return Fault("eval_classifier_accuracy", clause, MORE_PICTURES)
    limit = _class_limit(limits["class_kept"], able)
    if limit.holds(kept):
        return None
    clause = f"swaps keep their class in {kept:.2f} by the independent classifier (threshold {limit})"
    if limit.holds(own):
        clause += f", although the model's own encoder reads it in {own:.2f}"
    return Fault("class_kept", clause, LONGER)


def _class_limit(limit: Range, able: float) -> Range:
    """The threshold, or what can be asked where the classifier is right in less of real pictures."""
    return limit if able >= limit.least else Range(least=round(OF_ABLE * able, 2))


def _trivial(values: Figures, predictors: Mapping[str, Figures]) -> Fault | None:
    """A swap no nearer to its truth than a copy of a source or the mean of its class."""
    best = best_trivial(predictors)
    if best is None or "swap_psnr_blurred" not in values or values["swap_psnr_blurred"] > best[1]:
        return None
    name, reached = best
    return Fault(
        "swap_blurred_gain",
        f"swaps come no nearer to the true picture ({values['swap_psnr_blurred']:.1f} dB, blurred) than the {name} ({reached:.1f} dB)",
        LONGER,
    )


def best_trivial(predictors: Mapping[str, Figures]) -> tuple[str, float] | None:
    """(name, blurred dB) of the best of class mean and copies; None where the truth of a swap is not known."""
    found = {name: predictors[name]["swap_psnr_blurred"] for name in COPIES if "swap_psnr_blurred" in predictors.get(name, {})}
    return max(found.items(), key=lambda item: item[1]) if found else None


def _style(values: Figures, predictors: Mapping[str, Figures], limits: Mapping[str, Range]) -> Fault | None:
    found, limit = values.get("style_kept_retrieval", 0.0), limits["style_kept_retrieval"]
    if not limit.holds(found):
        return Fault("style_kept_retrieval", f"the style of a swap is found again among 100 in {found:.2f} (threshold {limit})", MORE_STYLE)
    copied = predictors.get(STYLE_COPY, {})
    telling = [key for key in STATISTICS if copied.get(key, 0.0) >= MOVES_COPY and key in values]
    moved = max((values[key] for key in telling), default=1.0)
    if "swap_psnr_blurred" in values or moved >= MOVES:
        return None
    clause = f"the model's own encoder finds the style of a swap again in {found:.2f}, but no statistic of it follows (r {moved:.2f})"
    return Fault("brightness_moved", clause, MORE_STYLE)


def _texture(key: str, what: str, values: Figures, limits: Mapping[str, Range]) -> Fault | None:
    found, limit = values.get(key, 0.0), limits[key]
    if limit.holds(found):
        return None
    return Fault(key, f"the texture of {what} differs from real pictures (spectrum log ratio {found:.2f}, threshold {limit})", LESS_GAN)


def _sample_faults(values: Figures, limits: Mapping[str, Range]) -> list[Fault] | None:
    """What is wrong with new pictures; None where none were made."""
    if "class_consistency" not in values:
        return None
    shown = values["class_consistency"]
    limit = _class_limit(limits["class_consistency"], values["eval_classifier_accuracy"])
    clause = f"{shown:.2f} of them show their class by the independent classifier (threshold {limit})"
    wrong = None if limit.holds(shown) else Fault("class_consistency", clause, SURER)
    return [fault for fault in (wrong, _texture("spectrum_log_ratio", "new pictures", values, limits)) if fault]


def _leak_faults(values: Figures, limits: Mapping[str, Range]) -> list[Fault] | None:
    """Whether the class is read from the style code; None where that was not measured."""
    if "leak_excess" not in values:
        return None
    if limits["leak_excess"].holds(values["leak_excess"]):
        return []
    read, chance, most = values["leak_worst"], values["chance"], limits["leak_excess"].most
    clause = f"a probe reads the class in {read:.2f} (chance {chance:.2f}, threshold {most:.2f} above)"
    return [Fault("leak_excess", clause, MORE_FLOW)]


def _clauses(faults: Sequence[Fault]) -> str:
    return ", and ".join(fault.clause for fault in faults[:SHOWN])


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
