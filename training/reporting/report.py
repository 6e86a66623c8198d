"""`twofold-train report`: one page, report.html, and its figures, report.json, of one model or of two side by side.

Gathers what evaluation.json, the card, the run folder and the gallery say; makes no figure that evaluation.json has.
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

from twofold.model import contract
from twofold.model.contract import Card, ContractError
from twofold.training.data.dataset import DataError
from twofold.training.evaluation import metric_table
from twofold.training.evaluation.eval_classifier import load_eval_classifier
from twofold.training.evaluation.evaluate import evaluate, open_model, pictures
from twofold.training.evaluation.metric_table import Line
from twofold.training.reporting import html, sections
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
    for the table. Raises DataError, ContractError; ValueError where evaluations cannot be compared.
    """
    for each in found:
        if not each.evaluation.exists():
            log(f"{each.folder.name}: not measured yet, so measuring it first")
            evaluate(each.bundle, data, eval_classifier, each.evaluation, log=log)
    baselines = [json.loads(path.read_text(encoding="utf-8")) for path in beside]
    evaluations = [json.loads(each.evaluation.read_text(encoding="utf-8")) for each in found]
    lines = metric_table.lines([*evaluations, *baselines])
    exhibits = []
    for each, evaluation in zip(found, evaluations, strict=True):
        log(f"{each.folder.name}: drawing pictures")
        exhibits.append(exhibit(each, evaluation, data, eval_classifier))
    figures = {
        "models": [e.facts for e in exhibits],
        "measures": [_figures(line, len(exhibits)) for line in lines],
        "baselines": baselines,
    }
    out.mkdir(parents=True, exist_ok=True)
    _write(out / FIGURES, json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    _write(out / PAGE, html.render(exhibits, lines, baselines))
    return out / PAGE


def exhibit(each: Subject, evaluation: dict[str, Any], data: Path, eval_classifier: Path) -> html.ModelSection:
    """Draw and judge all that the page shows of one model. Raises ContractError when the evaluation is of another model."""
    card, seer = contract.open_bundle(each.bundle).card, load_eval_classifier(eval_classifier)
    if evaluation["bundle"]["model_hash"] != card.model_hash:
        raise ContractError(f"{each.evaluation.name} is the evaluation of another model: measure this one with `twofold-train evaluate`")
    if evaluation["eval_classifier"]["hash"] != seer.hash:
        raise DataError(f"{each.evaluation.name} was made with another judge")
    fit, held = pictures(data, evaluation["split"], card, seer)
    model = open_model(each.bundle)
    mean = fit.pixels.mean(0).round().astype("uint8")
    scene = sections.Scene(model, seer, held, model.encode(held.pixels), mean)
    samples, swaps, (lost, share) = sections.samples(scene), sections.swap_matrix(scene), sections.lost_swaps(scene)
    shown = {
        "confusion": sections.confusion(scene).tolist(),
        "samples_kept": samples.kept,
        "swap_matrix_kept": swaps.kept,
        "lost_swaps": share,
    }
    return html.ModelSection(
        facts=_facts(each, card, evaluation) | shown,
        scene=scene,
        samples=samples,
        swaps=swaps,
        reconstructions=sections.reconstructions(scene),
        paths=sections.paths(scene),
        holes=sections.holes(scene),
        lost=lost,
        strangest=sections.strangest(scene),
        log=read_log(each.folder / LOG),
    )


def _facts(each: Subject, card: Card, evaluation: dict[str, Any]) -> dict[str, Any]:
    described = json.loads(card.to_json())
    kept = {key: described[key] for key in ("name", "model_hash", "class_names", "dims", "precision", "data", "training", "revision")}
    return {"id": card.id, **kept, "evaluation": evaluation, "machine": _machine(each.folder)}


def _machine(folder: Path) -> dict[str, Any]:
    """What the run says of the machine it was trained on, or else the one that this report is made on."""
    try:
        return {"trained on": json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))}
    except FileNotFoundError:
        packages = {name: version(name) for name in ("numpy", "onnxruntime", "torch")}
        return {
            "report made on": {"machine": platform.machine(), "system": platform.system(), "python": platform.python_version(), **packages}
        }


def _figures(line: Line, models: int) -> dict[str, Any]:
    """One measure for report.json; `values` and `met` hold one entry per model, `baselines` one per baseline."""
    measure, values = line.measure, line.values[:models]
    return {
        "key": measure.key,
        "title": measure.title,
        "definition": measure.definition,
        "values": values,
        "met": [None if line.bar is None or value is None else line.bar.met(value) for value in values],
        "bar": str(line.bar) if line.bar else None,
        "stretch": str(line.stretch) if line.stretch else None,
        "real": line.real,
        "baselines": line.values[models:],
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


def _write(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
