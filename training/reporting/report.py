"""`twofold-train report`: one page, report.html, and its figures, report.json, of one model or of two side by side.

Gathers what evaluation.json, the card, the run folder and the sections say; computes no figure that evaluation.json has.
"""

from __future__ import annotations

import itertools
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from twofold.files import write_atomic
from twofold.model import contract
from twofold.model.contract import ContractError
from twofold.training.data.dataset import DataError
from twofold.training.evaluation import metric_table
from twofold.training.evaluation.eval_classifier import load_eval_classifier
from twofold.training.evaluation.evaluate import evaluate, open_model, pictures
from twofold.training.evaluation.formats import Evaluation, write
from twofold.training.reporting import html, sections
from twofold.training.reporting.facts import MeasureFigures, ModelFacts, Report
from twofold.training.trainer.run_dir import ENVIRONMENT, LOG

PAGE, FIGURES = "report.html", "report.json"
BUNDLE, EVALUATION = "bundle", "evaluation.json"  # inside a run folder


@dataclass(frozen=True)
class Subject:
    """One model to report on: its run folder (or its bundle's folder, where there is no run), bundle and evaluation.json."""

    folder: Path
    bundle: Path
    evaluation: Path


def subjects(runs: Sequence[Path], bundles: Sequence[Path] = (), evaluations: Sequence[Path] = ()) -> list[Subject]:
    """One or two run folders, or bundles, with what was given for each of them in order; raises DataError for more.

    By default a run's bundle is RUN/bundle, and its evaluation RUN/evaluation.json or what `twofold-train evaluate` wrote beside
    the bundle.
    """
    if len(runs) > 2 or len(bundles) > len(runs) or len(evaluations) > len(runs):
        raise DataError("give one run to report on or two to compare, and --bundle and --evaluation at most once for each")
    found = []
    for run, given, evaluation in itertools.zip_longest(runs, bundles, evaluations):
        bundle = given or (run if (run / contract.CARD).exists() else run / BUNDLE)
        beside = Path(f"{bundle}.test.json")
        found.append(Subject(run, bundle, evaluation or (beside if bundle == run or beside.exists() else run / EVALUATION)))
    return found


def default_out(found: Sequence[Subject]) -> Path:
    """RUN/report; beside a bundle, which must not gain files; named after both where two are compared."""
    first, name = found[0], "-beside-".join(["report", *(each.folder.name for each in found[1:])])
    return Path(f"{first.folder}-{name}") if first.bundle == first.folder else first.folder / name


def report(
    found: Sequence[Subject],
    data: Path,
    eval_classifier: Path,
    out: Path,
    beside: Sequence[Path] = (),
    log: Callable[[str], object] = print,
) -> Path:
    """Write report.html and report.json into the folder `out` (created); returns the page. One model, or two to compare.

    A model without an evaluation is measured first, on the test split. `beside` are evaluations of baselines on the same data,
    for the table. Raises DataError, ContractError; ValueError where evaluations do not compare.
    """
    for each in found:
        if not each.evaluation.exists():
            log(f"{each.folder.name}: not measured yet, so measuring it first")
            evaluate(each.bundle, data, eval_classifier, each.evaluation, log=log)
    baselines = [Evaluation.read(path) for path in beside]
    evaluations = [Evaluation.read(each.evaluation) for each in found]
    lines = metric_table.lines([*evaluations, *baselines])
    models = []
    for each, evaluation in zip(found, evaluations, strict=True):
        log(f"{each.folder.name}: making pictures")
        models.append(model_section(each, evaluation, data, eval_classifier))
    measures = [MeasureFigures.of(line, len(models)) for line in lines]
    write(out / FIGURES, Report([model.facts for model in models], measures, baselines))
    write_atomic(out / PAGE, html.render(models, lines, baselines).encode())
    return out / PAGE


def model_section(each: Subject, evaluation: Evaluation, data: Path, eval_classifier: Path) -> html.ModelSection:
    """Make all that the page shows of one model.

    Raises ContractError when the evaluation is of another model, DataError when it was made with another evaluation classifier.
    """
    card, classifier = contract.open_bundle(each.bundle).card, load_eval_classifier(eval_classifier)
    if evaluation.bundle.model_hash != card.model_hash:
        raise ContractError(f"{each.evaluation.name} is the evaluation of another model: measure this one with `twofold-train evaluate`")
    if evaluation.eval_classifier.hash != classifier.card.hash:
        raise DataError(f"{each.evaluation.name} was made with another evaluation classifier")
    fit, held = pictures(data, evaluation.split, card, classifier)
    model = open_model(each.bundle)
    mean = fit.pixels.mean(0).round().astype("uint8")
    material = sections.Material(model, classifier, held, model.encode(held.pixels), mean)
    samples, samples_kept = sections.samples(material)
    swaps, swap_matrix_kept = sections.swap_matrix(material)
    lost, lost_swaps = sections.lost_swaps(material)
    facts = ModelFacts(
        id=card.id,
        name=card.name,
        model_hash=card.model_hash,
        class_names=card.class_names,
        dims=card.dims,
        precision=card.precision,
        data=card.data,
        training=card.training,
        revision=card.revision,
        evaluation=evaluation,
        machine=_machine(each.folder),
        confusion=sections.confusion(material).tolist(),
        samples_kept=samples_kept,
        swap_matrix_kept=swap_matrix_kept,
        lost_swaps=lost_swaps,
    )
    return html.ModelSection(
        facts=facts,
        material=material,
        samples=samples,
        swaps=swaps,
        reconstructions=sections.reconstructions(material),
        interpolations=sections.interpolations(material),
        inpainted=sections.inpainted(material),
        lost=lost,
        least_typical=sections.least_typical(material),
        log=read_log(each.folder / LOG),
    )


def _machine(folder: Path) -> dict[str, object]:
    """What the run notes about the machine it was trained on, or else the one that this report is made on."""
    try:
        return {"trained on": json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))}
    except FileNotFoundError:
        packages = {name: version(name) for name in ("numpy", "onnxruntime", "torch")}
        return {
            "report made on": {"machine": platform.machine(), "system": platform.system(), "python": platform.python_version(), **packages}
        }


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of log.jsonl in the order of the steps; of a step that was taken twice, after a resume, the later line."""
    steps: dict[tuple[int, int], dict[str, Any]] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:  # a kill can cut the line that was being written
            continue
        if {"stage", "stage_number", "step", "steps"} <= set(line):
            steps[line["stage_number"], line["step"]] = line
    return [steps[key] for key in sorted(steps)]
