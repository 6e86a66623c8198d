"""`twofold-train reproduce`: trains, exports and measures every row of ablations.toml, and lays them side by side in one table.

What is there already is kept: a run that was stopped is continued, a bundle is not exported twice, and a row is measured once. What a row
is stands in ablation_plan.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from twofold.files import write_atomic
from twofold.model.contract import CARD, read_card
from twofold.training.config.schema import Config
from twofold.training.data.dataset import Pictures, load_for
from twofold.training.evaluation import eval_classifier
from twofold.training.evaluation.evaluate import evaluate
from twofold.training.evaluation.formats import ClassifierId, EvaluatedData, Evaluation, write
from twofold.training.evaluation.metric_table import MEASURES
from twofold.training.experiments.ablation_plan import Plan, Variant, configure, decoder_updates
from twofold.training.export.bundle import export_run
from twofold.training.trainer.console import ProgressLine
from twofold.training.trainer.trainer import Trainer, shared_stages, stage_file

TABLE, FIGURES = "table.md", "table.json"
STYLE_COLUMNS = (
    "leak_linear",
    "leak_mlp",
    "leak_mlp_sampled",
    "class_kept",
    "class_kept_read",
    "brightness_moved",
    "brightness_from_class",
    "style_kept_retrieval",
)
SAMPLE_COLUMNS = ("class_consistency", "frechet", "pixel_variance_ratio")
PICTURE_COLUMNS = ("reconstruction_psnr", "reconstruction_ssim")
COLUMNS = ("class_accuracy", *STYLE_COLUMNS, *SAMPLE_COLUMNS, *PICTURE_COLUMNS)
WITHOUT_E_U = ("reading", "generation")  # the stages of a measurement that do not use E_u


@dataclass(frozen=True)
class AblationOptions:
    """What a user asks of the table."""

    data: Path
    out: Path
    eval_classifier: Path
    base: Config
    plan: Plan
    rows: tuple[str, ...] = ()  # none: all
    split: str = "validation"
    quick: bool = False


@dataclass(frozen=True)
class AblationResult:
    """A row with a run of its own: steps that G took, core seconds of the training (those of shared stages too), and its evaluation.

    `style` says whether there is an E_u that some stage trained.
    """

    config: Config
    steps: int
    core_seconds: float
    style: bool
    evaluation: Evaluation


@dataclass(frozen=True)
class Row:
    """A line of the table. `values` are by column, None where there is no figure."""

    name: str
    note: str
    sampler: str
    run: str
    model_hash: str
    values: Mapping[str, float | None]
    decoder_steps: int
    core_minutes: float


@dataclass(frozen=True)
class Table:
    """table.json. `whole` are the stages that were not cut short, `real` is what real pictures get in each column."""

    base: str
    scale: float
    whole: Sequence[str]
    split: str
    quick: bool
    rows_held: int
    data: EvaluatedData
    eval_classifier: ClassifierId
    real: Mapping[str, float | None]
    rows: Sequence[Row]


def reproduce(options: AblationOptions, say: Callable[[str], object]) -> str:
    """Make every row that is missing, write table.md and table.json into `options.out` after each, and return the table.

    Raises what training, export and evaluation do; CheckpointError where the folder holds rows of another configuration or scale.
    """
    variants = options.plan.chosen(options.rows)
    configs = {v.name: configure(v, options.base, options.plan.scale, options.plan.whole) for v in options.plan.variant if not v.like}
    if not (options.eval_classifier / eval_classifier.CARD).exists():
        say("training the evaluation classifier")
        eval_classifier.train_eval_classifier(options.data, options.eval_classifier, log=say, like=options.base.data)
    pictures = load_for(options.base.data, options.data)  # the same for all rows
    made: dict[str, AblationResult] = {}
    text = ""
    for variant in variants:
        if not variant.like:
            say(f"row {variant.name!r}: {variant.note}")
            made[variant.name] = _make(options, configs[variant.name], pictures, list(configs.values()), say)
        rows = [_row(v, made[v.like or v.name]) for v in variants if (v.like or v.name) in made]
        text = _write(options, rows, [row.evaluation for row in made.values()])
    return text


# --------------------------------------------------------------------------------------------------------------- one row


def _make(
    options: AblationOptions, config: Config, pictures: tuple[Pictures, Pictures], others: list[Config], say: Callable[[str], object]
) -> AblationResult:
    """Train, export and measure, as far as it has not been done; `others` are the configurations of all rows, made or not."""
    run = options.out / config.name
    with closing(ProgressLine()) as progress:
        trainer = Trainer(config, *pictures, run, progress, progress.warn, start=start_of(options.out, config, others))
        trainer.run()
    bundle = run / "bundle"
    if not (bundle / CARD).exists():
        export_run(run, options.data, bundle)
    style = any("encoder_u" in stage.trained for stage in config.stage)
    steps = sum(trainer.steps(stage) * decoder_updates(stage) for stage in config.stage)
    return AblationResult(config, steps, trainer.core_seconds, style, _measure(options, run, bundle, style, say))


def start_of(out: Path, config: Config, others: list[Config]) -> Path | None:
    """The run folder of the row that has trained most of the stages of this one, if any has."""
    shared = {out / other.name: shared_stages(config, other) for other in others if other.name != config.name}
    trained = [run for run, stages in shared.items() if stages and (run / stage_file(stages)).exists()]
    return max(trained, key=shared.__getitem__, default=None)


def _measure(options: AblationOptions, run: Path, bundle: Path, style: bool, say: Callable[[str], object]) -> Evaluation:
    """The evaluation of a bundle: that of an earlier call, if it is of the same model, evaluation classifier and pictures."""
    out = run / f"{options.split}.json"
    wanted = (read_card(bundle).model_hash, eval_classifier.load_eval_classifier(options.eval_classifier).card.hash, options.quick)
    if out.exists():
        found = Evaluation.read(out)
        if (found.bundle.model_hash, found.eval_classifier.hash, found.quick) == wanted:
            return found
    stages = None if style else WITHOUT_E_U
    return evaluate(bundle, options.data, options.eval_classifier, out, options.split, options.quick, log=say, stages=stages)


def _row(variant: Variant, made: AblationResult) -> Row:
    """What the table says of a variant."""
    values: dict[str, float | None] = {}
    for key in COLUMNS:
        sampled = key + "_paper" if key in SAMPLE_COLUMNS and variant.sampler == "paper" else key
        values[key] = None if not made.style and key in (*STYLE_COLUMNS, *PICTURE_COLUMNS) else made.evaluation.values[sampled]
    minutes = round(made.core_seconds / 60, 2)
    model_hash = made.evaluation.bundle.model_hash
    return Row(variant.name, variant.note, variant.sampler, made.config.name, model_hash, values, made.steps, minutes)


# ------------------------------------------------------------------------------------------------------------- the table


def _write(options: AblationOptions, rows: list[Row], evaluations: list[Evaluation]) -> str:
    """Both files; what real pictures get is the same in every evaluation that has it. Returns the table."""
    known = {"one": 1.0} | {key: value for one in evaluations for key, value in one.values.items()}
    real = {m.key: known.get(m.real or "") for m in MEASURES if m.key in COLUMNS}
    first = evaluations[0]
    facts = Table(
        base=options.base.name,
        scale=options.plan.scale,
        whole=[stage.name for stage in options.base.stage if stage.name in options.plan.whole],
        split=options.split,
        quick=options.quick,
        rows_held=first.rows.held,
        data=first.data,
        eval_classifier=first.eval_classifier,
        real=real,
        rows=rows,
    )
    text = table(facts)
    write(options.out / FIGURES, facts)
    write_atomic(options.out / TABLE, text.encode())
    return text


def table(facts: Table) -> str:
    """Markdown of what table.json holds: a line per row, a column per measure, then what each row is."""
    measures = {m.key: m for m in MEASURES}

    def cells(values: Mapping[str, float | None], none: str) -> list[str]:
        return [none if (value := values[key]) is None else f"{value:.{measures[key].decimals}f}" for key in COLUMNS]

    lines = [
        ["row", *(_title(measures[key].title) for key in COLUMNS), "steps of G", "core minutes"],
        ["---", *["---:"] * (len(COLUMNS) + 2)],
        ["real pictures", *cells(facts.real, ""), "", ""],
        *([row.name, *cells(row.values, "n/a"), str(row.decoder_steps), f"{row.core_minutes:.1f}"] for row in facts.rows),
    ]
    rows = ("| " + " | ".join(line) + " |" for line in lines)
    notes = (f"* **{row.name}**: {row.note}." for row in facts.rows)
    return "\n".join([*rows, "", _foot(facts), "", *notes, ""])


def _foot(facts: Table) -> str:
    split, scale, classifier = facts.split, facts.scale, facts.eval_classifier
    quick = " (a sample: no figures)" if facts.quick else ""
    whole = f" (all of them in the stage {' and '.join(facts.whole)})" if facts.whole and scale != 1 else ""
    return (
        f"{split} split, {facts.rows_held} pictures{quick}; the evaluation classifier {classifier.hash[:8]} is right in "
        f"{classifier.accuracy:.3f} of them. "
        f"One seed; {scale:g} of the epochs of {facts.base}{whole}, and as many steps of G in every row. Core minutes are those of the "
        "training, shared stages included. n/a: the row trains no E_u. "
        f"Made by `twofold-train reproduce --scale {scale:g} --split {split}`."
    )


def _title(title: str) -> str:
    return "style moved, r with the class source" if title.startswith("...") else title
