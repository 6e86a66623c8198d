"""`twofold-train`: turns options into calls. For every command one function that adds its options and one that runs it.

Messages go to stderr, results to stdout. Exit codes: 0 done, 1 a fault of this program, 2 wrong usage or input that cannot be used,
5 training diverged or a proof failed, 130 interrupted. Heavy imports happen inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twofold.training.config.schema import Config
    from twofold.training.data.dataset import Pictures
    from twofold.training.evaluation.formats import Evaluation
    from twofold.training.trainer.distributed import Distributed
    from twofold.training.trainer.trainer import Trainer

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

Command = Callable[[argparse.Namespace], int]
Say = Callable[[str], object]

DATA = "folder of pictures with a sub-folder for each class, folder of Parquet files, .npz file, or the id of a data set on the hub"
CLASSIFIER = "folder of `twofold-train eval-classifier`"
PRESETS = ", ".join(sorted(path.stem for path in (Path(__file__).parent / "config" / "presets").glob("*.toml")))

# Which error ends with which code. By name: to import the classes would import torch, which may be what is missing.
CANNOT_BE_USED = ("UsageError", "ConfigError", "DataError", "CheckpointError", "ContractError", "PushError")
EXIT_CODES = dict.fromkeys(CANNOT_BE_USED, 2) | dict.fromkeys(("Diverged", "ExportError"), 5)


class UsageError(Exception):
    """Options that do not go together, or a file that is not what it should be."""


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    args = parser().parse_args(argv)
    try:
        return int(args.command(args))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        ending = _ending(error)
        if ending is None:
            raise
        code, text = ending
        print(f"twofold-train: {text}", file=sys.stderr)
        return code


def _ending(error: Exception) -> tuple[int, str] | None:
    """Exit code and message of an error that a user can do something about; None for any other."""
    if isinstance(error, ImportError):
        missing = (error.name or "a package").partition(".")[0]
        return None if missing == "twofold" else (2, f"training needs {missing}: pip install 'twofold[train]'")
    names = (kind.__name__ for kind in type(error).__mro__ if kind.__module__.partition(".")[0] in ("twofold", "__main__"))
    return next(((EXIT_CODES[name], str(error)) for name in names if name in EXIT_CODES), None)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; `command` of what it returns is the function to call."""
    top = argparse.ArgumentParser(prog="twofold-train", description="Train, evaluate, export and report a class/style model.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        add_init,
        add_train,
        add_eval_classifier,
        add_export,
        add_evaluate,
        add_report,
        add_figures,
        add_reproduce,
        add_extras,
        add_toy,
        add_push,
    ):
        add(commands)
    return top


def _add(commands: Commands, name: str, run: Command, text: str) -> argparse.ArgumentParser:
    sub = commands.add_parser(name, help=text, description=text)
    sub.set_defaults(command=run)
    return sub


def _count(text: str) -> int:
    """A whole number from 0. Raises what argparse reports."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def _add_data(sub: argparse.ArgumentParser, text: str = DATA) -> None:
    sub.add_argument("--data", type=Path, required=True, help=text)


def _add_group(sub: argparse.ArgumentParser) -> None:
    text = "what a split keeps together: REGEX with one group, for the paths of the files; a COLUMN of a table; auto: a guess"
    sub.add_argument("--group", default="", metavar="REGEX|COLUMN|auto", help=f"{text} (the configuration's)")


def _add_threads(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--threads", type=_count, default=0, help="CPU threads (0: all)")


def _add_device(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU where there is one (auto)")


# ------------------------------------------------------------------------------------------------------------ init, train


def add_init(commands: Commands) -> None:
    """Add `twofold-train init`."""
    sub = _add(commands, "init", init, "write a configuration that fits a data set and the time there is")
    sub.add_argument("data", type=Path, metavar="DIR", help=DATA)
    sub.add_argument("--out", type=Path, default=Path("twofold.toml"), help="file to write (twofold.toml)")
    sub.add_argument("--minutes", type=float, default=20.0, help="time that training may take on this machine (20)")
    sub.add_argument("--size", type=int, default=0, help="pixels a side, e.g. 64 (0: as the pictures are)")
    _add_group(sub)
    _add_threads(sub)
    _add_device(sub)


def init(args: argparse.Namespace) -> int:
    """Write a configuration; prints nothing to stdout."""
    from twofold.training.experiments import autoconfig
    from twofold.training.trainer.distributed import Distributed, choose_device
    from twofold.training.trainer.malloc import keep_memory

    _set_threads(args.threads)
    keep_memory()  # as `train` will
    options = autoconfig.AutoConfigOptions(args.data, args.out, args.minutes, args.size, args.group)
    autoconfig.init(options, _say, distributed=Distributed(choose_device(args.device)))
    return 0


def add_train(commands: Commands) -> None:
    """Add `twofold-train train`."""
    sub = _add(commands, "train", train, "train a configuration on a data set; continues a run that was stopped")
    sub.add_argument("config", help=f"a TOML file, or a preset: {PRESETS}")
    _add_data(sub)
    sub.add_argument("--out", type=Path, required=True, help="run folder")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override, dotted: --set stage.0.epochs=2")
    _add_group(sub)
    begin = "begin after the stages that RUN's configuration has in common with this one"
    sub.add_argument("--start", type=Path, metavar="RUN", help=begin)
    sub.add_argument("--dry-run", action="store_true", help="print configuration, parameters, memory and time, write OUT/batch.png")
    sub.add_argument("--keep-every", type=_count, default=0, metavar="N", help="keep a checkpoint of every Nth step (0: last and best)")
    _add_threads(sub)
    _add_device(sub)


def train(args: argparse.Namespace) -> int:
    """Train, or show what training would cost; 130 if a signal stopped it."""
    from twofold.training.config.schema import read
    from twofold.training.data.dataset import load_for
    from twofold.training.trainer import preflight
    from twofold.training.trainer.distributed import join
    from twofold.training.trainer.malloc import keep_memory

    config = read(args.config, _overrides(args.set) | _group(args.group))
    _set_threads(args.threads)
    keep_memory()
    with join(args.device) as distributed:
        preflight.check(config, distributed)  # before any data is read
        run = _dry_run if args.dry_run else _train
        return run(args, config, load_for(config.data, args.data), distributed, _say if distributed.first else _say_nothing)


def _overrides(items: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE options by key. Raises UsageError."""
    for item in items:
        if "=" not in item:
            raise UsageError(f"--set {item}: must be KEY=VALUE")
    return dict(item.split("=", 1) for item in items)


def _group(group: str) -> dict[str, str]:
    """The override of an option --group that was given."""
    return {"data.group": json.dumps(group, ensure_ascii=False)} if group else {}


def _dry_run(args: argparse.Namespace, config: Config, pictures: tuple[Pictures, Pictures], distributed: Distributed, say: Say) -> int:
    from twofold.training.experiments.dry_run import dry_run

    _summarize(args, config, pictures, say)
    text = dry_run(config, *pictures, args.out, say, distributed=distributed)
    if distributed.first:
        print(text)
    return 0


def _train(args: argparse.Namespace, config: Config, pictures: tuple[Pictures, Pictures], distributed: Distributed, say: Say) -> int:
    from twofold.training.trainer.console import ProgressLine
    from twofold.training.trainer.run_dir import LAST
    from twofold.training.trainer.trainer import Stopped, Trainer

    if not (args.out / LAST).exists() and distributed.first:
        _summarize(args, config, pictures, say)
    try:
        with closing(ProgressLine()) as progress:
            trainer = Trainer(config, *pictures, args.out, progress, progress.warn, distributed, args.start)
            _save_on_signals(trainer)
            trainer.run(keep_every=args.keep_every)
    except Stopped:
        say("stopped and saved: the same command continues from here")
        return 130
    took = f"{trainer.seconds:.0f} s ({trainer.core_seconds:.0f} of one core)"
    say(f"trained {config.name} in {took}; next: twofold-train export {args.out} --data {args.data} --out BUNDLE")
    return 0


def _summarize(args: argparse.Namespace, config: Config, pictures: tuple[Pictures, Pictures], say: Say) -> None:
    """Say what the pictures are, and what looks wrong with them, before any training."""
    from twofold.training.data.summary import find_test_split, summarize

    for line in summarize(*pictures, find_test_split(config.data, args.data)):
        say(line)


def _save_on_signals(trainer: Trainer) -> None:
    """Ctrl-C and SIGTERM finish the step, save, and stop; a second Ctrl-C stops at once."""

    def stop(number: int, frame: object) -> None:
        trainer.stopping = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


# --------------------------------------------------------------------------------------- bundles and how they are measured


def add_eval_classifier(commands: Commands) -> None:
    """Add `twofold-train eval-classifier`."""
    sub = _add(commands, "eval-classifier", eval_classifier, "train the independent evaluation classifier that scores pictures")
    _add_data(sub)
    sub.add_argument("--out", type=Path, required=True, help="folder of the classifier")
    sub.add_argument("--config", help="configuration whose size and preprocessing the pictures get (default: as they are)")
    _add_group(sub)
    _add_threads(sub)
    _add_device(sub)


def eval_classifier(args: argparse.Namespace) -> int:
    """Train the evaluation classifier."""
    from dataclasses import replace

    from twofold.training.config.schema import DataConfig, read
    from twofold.training.evaluation.eval_classifier import train_eval_classifier
    from twofold.training.trainer.distributed import choose_device

    _set_threads(args.threads)
    like = read(args.config).data if args.config else DataConfig()
    like = replace(like, group=args.group or like.group)
    train_eval_classifier(args.data, args.out, log=_say, like=like, device=choose_device(args.device))
    return 0


def add_export(commands: Commands) -> None:
    """Add `twofold-train export`."""
    sub = _add(commands, "export", export, "make a bundle of a finished run, proved against torch")
    sub.add_argument("run", type=Path, metavar="RUN", help="run folder")
    _add_data(sub, "the data set the run was trained on")
    sub.add_argument("--out", type=Path, required=True, help="folder of the bundle; replaced if it is there")
    sub.add_argument("--checkpoint", metavar="FILE", help="another checkpoint of the last stage in RUN, as best.pt (default: last.pt)")
    sub.add_argument("--name", help="name of the model (default: that of the configuration)")
    files = "a file to put into the bundle, as credits or a licence"
    sub.add_argument("--include", type=Path, action="append", default=[], metavar="FILE", help=files)
    precision = "int8: smaller and faster, with rounding that is measured (fp32)"
    sub.add_argument("--precision", choices=("fp32", "int8"), default="fp32", help=precision)
    _add_no_eval_classifier(sub)


def _add_no_eval_classifier(sub: argparse.ArgumentParser) -> None:
    text = "do not train a small evaluation classifier for the bundle, from which its verdicts then come (one to two minutes of a core)"
    sub.add_argument("--no-eval-classifier", dest="eval_classifier", action="store_false", help=text)


def export(args: argparse.Namespace) -> int:
    """Write a bundle, then put an evaluation classifier into it; prints its folder."""
    from twofold.training.bundle_ops.add_eval_classifier import add_eval_classifier
    from twofold.training.export.bundle import export_run
    from twofold.training.trainer.run_dir import LAST

    export_run(args.run, args.data, args.out, args.name, args.checkpoint or LAST, args.precision, args.include)
    if args.eval_classifier:
        add_eval_classifier(args.out, args.data, _say)
    print(args.out)
    return 0


def add_evaluate(commands: Commands) -> None:
    """Add `twofold-train evaluate`."""
    sub = _add(commands, "evaluate", evaluate, "measure an exported bundle as it is served; prints a table")
    sub.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    _add_data(sub, "the data set the model was trained on")
    sub.add_argument("--eval-classifier", type=Path, required=True, help=CLASSIFIER)
    sub.add_argument("--split", choices=("test", "validation"), default="test", help="choose on validation; test once, for the figures")
    sub.add_argument("--out", type=Path, help="evaluation.json (default: beside the bundle)")
    sub.add_argument("--beside", type=Path, action="append", default=[], metavar="JSON", help="another evaluation for the table")
    seeds = "evaluation of the same configuration from another seed"
    sub.add_argument("--seeds", type=Path, action="append", default=[], metavar="JSON", help=seeds)
    sub.add_argument("--quick", action="store_true", help="a sample of the pictures: for tests, not for figures")
    sub.add_argument("--record", action="store_true", help="write the figures into the bundle's card and model card")


def evaluate(args: argparse.Namespace) -> int:
    """Measure a bundle; prints the table. Raises UsageError, and DataError for a file that is no evaluation."""
    from twofold.training.bundle_ops.record_metrics import record
    from twofold.training.evaluation.evaluate import evaluate as measure
    from twofold.training.evaluation.formats import Evaluation
    from twofold.training.evaluation.metric_table import summary

    if args.quick and args.record:
        raise UsageError("--record writes figures, and --quick makes none: leave one of them out")
    others, seeds = ([Evaluation.read(path) for path in paths] for paths in (args.beside, args.seeds))
    out = args.out or Path(f"{args.bundle}.{args.split}.json")
    result = measure(args.bundle, args.data, args.eval_classifier, out, args.split, args.quick, log=_say)
    results = _titled([result, *others])
    try:
        print(summary(results, seeds), end="")
    except ValueError as error:
        raise UsageError(f"--beside and --seeds: {error}") from error
    if args.record:
        record(args.bundle, results, seeds)
    return 0


def _titled(evaluations: Iterable[Evaluation]) -> dict[str, Evaluation]:
    """Each evaluation under its model's name, a second model of that name under name@hash."""
    results: dict[str, Evaluation] = {}
    for one in evaluations:
        name, model_hash = one.bundle.name, one.bundle.model_hash
        results[f"{name}@{model_hash[:8]}" if name in results else name] = one
    return results


def add_report(commands: Commands) -> None:
    """Add `twofold-train report`."""
    sub = _add(commands, "report", report, "one page that shows what a run has learned; two runs are compared side by side")
    sub.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folder, or a bundle; give two to compare them")
    _add_data(sub, "the data set the run was trained on")
    sub.add_argument("--bundle", type=Path, action="append", default=[], help="its bundle (default: RUN/bundle); once for each RUN")
    sub.add_argument("--eval-classifier", type=Path, help=f"{CLASSIFIER} (default: RUN/eval_classifier)")
    evaluation = "default: RUN/evaluation.json; made if missing"
    sub.add_argument("--evaluation", type=Path, action="append", default=[], metavar="JSON", help=evaluation)
    sub.add_argument("--beside", type=Path, action="append", default=[], metavar="JSON", help="evaluation of a baseline, for the table")
    sub.add_argument("--out", type=Path, help="folder for report.html and report.json (default: RUN/report, or beside a bundle)")


def report(args: argparse.Namespace) -> int:
    """Write the report; prints its file."""
    from twofold.training.reporting import report as page

    found = page.subjects(args.runs, args.bundle, args.evaluation)
    classifier = args.eval_classifier or args.runs[0] / "eval_classifier"
    print(page.report(found, args.data, classifier, args.out or page.default_out(found), args.beside, log=_say))
    return 0


def add_figures(commands: Commands) -> None:
    """Add `twofold-train figures`."""
    text = "the paper's experiments as pictures of a bundle: styles, exchange, interpolation, inpainting, codes"
    sub = _add(commands, "figures", figures, text)
    sub.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    _add_data(sub, "the data set the model was trained on")
    sub.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    sub.add_argument("--seed", type=_count, default=0, help="of the styles and pictures that are shown (0)")


def figures(args: argparse.Namespace) -> int:
    """Draw the figures; prints their files."""
    from twofold.training.reporting.paper_figures import figures as draw_all

    for path in draw_all(args.bundle, args.data, args.out, args.seed, log=_say):
        print(path)
    return 0


def add_extras(commands: Commands) -> None:
    """Add `twofold-train extras`."""
    text = "make a bundle's calibration, style directions, map, examples and evaluation classifier again, without its checkpoint"
    sub = _add(commands, "extras", extras, text)
    sub.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    _add_data(sub, "the data set that the model was trained on")
    _add_no_eval_classifier(sub)


def extras(args: argparse.Namespace) -> int:
    """Make the extras again; prints the bundle's folder."""
    from twofold.training.bundle_ops.add_eval_classifier import add_eval_classifier
    from twofold.training.bundle_ops.refresh_extras import renew_extras

    renew_extras(args.bundle, args.data)
    if args.eval_classifier:
        add_eval_classifier(args.bundle, args.data, _say)
    print(args.bundle)
    return 0


def add_push(commands: Commands) -> None:
    """Add `twofold-train push`."""
    sub = _add(commands, "push", push, "put a bundle on a hub as it is; prints the name by which `twofold serve --bundle` takes it")
    sub.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    sub.add_argument("name", metavar="USER/NAME", help="the repository; made if it is not there")
    sub.add_argument("--private", action="store_true", help="if the repository is made: for you alone")


def push(args: argparse.Namespace) -> int:
    """Upload a bundle; prints its name on the hub."""
    from twofold.training.bundle_ops.push import push as upload

    print(upload(args.bundle, args.name, args.private))
    return 0


# ------------------------------------------------------------------------------------------------------------ experiments


def add_reproduce(commands: Commands) -> None:
    """Add `twofold-train reproduce`."""
    text = "train and measure baselines and ablations, as training/experiments/ablations.toml lists them; prints a table"
    sub = _add(commands, "reproduce", reproduce, text)
    sub.add_argument("config", nargs="?", default="fashion", help="a TOML file, or a preset, that every row is a change of (fashion)")
    _add_data(sub)
    sub.add_argument("--out", type=Path, required=True, help="folder for table.md, table.json and the rows' runs; continues what is there")
    sub.add_argument("--eval-classifier", type=Path, help=f"{CLASSIFIER}; trained if missing (default: OUT/eval_classifier)")
    _add_group(sub)
    sub.add_argument("--rows", nargs="+", metavar="NAME", default=[], help="these rows only (default: all)")
    sub.add_argument("--scale", type=float, help="share of the configuration's epochs (default: that of ablations.toml)")
    sub.add_argument("--split", choices=("test", "validation"), default="validation", help="that is measured (validation)")
    sub.add_argument("--quick", action="store_true", help="measure on a sample of the pictures: for tests, not for figures")
    _add_threads(sub)


def reproduce(args: argparse.Namespace) -> int:
    """Make the table of ablations; prints it."""
    from twofold.training.config.schema import read
    from twofold.training.experiments import ablations
    from twofold.training.experiments.ablation_plan import read_plan
    from twofold.training.trainer.malloc import keep_memory

    _set_threads(args.threads)
    keep_memory()
    options = ablations.AblationOptions(
        data=args.data,
        out=args.out,
        eval_classifier=args.eval_classifier or args.out / "eval_classifier",
        base=read(args.config, _group(args.group)),
        plan=read_plan(scale=args.scale),
        rows=tuple(args.rows),
        split=args.split,
        quick=args.quick,
    )
    print(ablations.reproduce(options, _say))
    return 0


def add_toy(commands: Commands) -> None:
    """Add `twofold-train toy`."""
    sub = _add(commands, "toy", toy, "the paper's three moons in the plane: our method beside a cVAE-GAN, in two minutes of one thread")
    sub.add_argument("--out", type=Path, required=True, help="folder for three-moons.svg and three-moons.json")
    sub.add_argument("--seed", type=_count, default=0, help="of points and networks (0)")


def toy(args: argparse.Namespace) -> int:
    """Run the toy problem; prints the file of its plot."""
    from twofold.training.experiments import three_moons

    _set_threads(1)
    three_moons.toy(args.out, args.seed, log=_say)
    print(args.out / three_moons.PLOT)
    return 0


def _set_threads(count: int) -> None:
    import torch

    if count:
        torch.set_num_threads(count)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _say_nothing(text: str) -> None:
    """What a process prints that is not the first."""


if __name__ == "__main__":
    sys.exit(main())
