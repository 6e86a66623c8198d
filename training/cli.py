"""`twofold-train`: words to calls, a function per command. Knows every room's door and nothing of what is inside.

Talk goes to stderr, a bar only on a terminal (plain lines elsewhere). Exit codes: 0 ok, 1 ours, 2 usage or bad input,
5 a proof failed, 130 interrupted. Heavy imports happen inside the commands.

Longer than 250 lines because every command and every option stands on this page.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twofold.training.config.schema import DataConfig
    from twofold.training.data.dataset import Pictures
    from twofold.training.trainer.trainer import Trainer


DATA = "folder of pictures with a sub-folder for each class, folder of Parquet files, .npz file, or the id of a data set on the hub"


class UsageError(Exception):
    """Options that do not go together, or a file that is not what it should be."""


# -------------------------------------------------------------------------------------------------------- commands


def train(args: argparse.Namespace) -> int:
    from twofold.training.config.schema import read
    from twofold.training.data.dataset import load_for
    from twofold.training.trainer import preflight
    from twofold.training.trainer.console import ProgressLine
    from twofold.training.trainer.distributed import join
    from twofold.training.trainer.malloc import keep_memory
    from twofold.training.trainer.run_dir import LAST
    from twofold.training.trainer.trainer import Stopped, Trainer

    overrides = dict(item.split("=", 1) if "=" in item else (item, "") for item in args.set)
    config = read(args.config, overrides)
    _threads(args.threads)
    keep_memory()
    with join(args.device) as distributed:
        say = _say if distributed.first else _hush
        preflight.check(config, distributed)
        kept, held = load_for(config.data, args.data)
        if args.dry_run:
            from twofold.training.experiments.dry_run import dry_run

            _show(config.data, args.data, kept, held, say)
            print(dry_run(config, kept, held, args.out, say))
            return 0
        if not (args.out / LAST).exists() and distributed.first:
            _show(config.data, args.data, kept, held, say)
        progress = ProgressLine()
        trainer = Trainer(config, kept, held, args.out, progress, progress.warn, distributed, args.start)
        _save_on_signals(trainer)
        try:
            trainer.run(keep_every=args.keep_every)
        except Stopped:
            progress.end()
            say("stopped and saved: the same command goes on from here")
            return 130
        finally:
            progress.end()
        took = f"{trainer.seconds:.0f} s ({trainer.core_seconds:.0f} of one core)"
        say(f"trained {config.name} in {took}; next: twofold-train export {args.out} --data {args.data} --out BUNDLE")
    return 0


def init(args: argparse.Namespace) -> int:
    from twofold.training.experiments.autoconfig import AutoConfigOptions
    from twofold.training.experiments.autoconfig import init as write_config
    from twofold.training.trainer.malloc import keep_memory

    _threads(args.threads)
    keep_memory()  # as `train` will
    write_config(AutoConfigOptions(args.data, args.out, args.minutes, args.size), _say)
    return 0


def eval_classifier(args: argparse.Namespace) -> int:
    from twofold.training.config.schema import read
    from twofold.training.evaluation.eval_classifier import train_eval_classifier

    _threads(args.threads)
    train_eval_classifier(args.data, args.out, log=_say, like=read(args.config).data if args.config else None)
    return 0


def export(args: argparse.Namespace) -> int:
    from twofold.training.export.bundle import export_run
    from twofold.training.trainer.run_dir import LAST

    export_run(args.run, args.data, args.out, args.name, args.checkpoint or LAST, args.precision, args.include)
    print(args.out)
    return 0


def evaluate(args: argparse.Namespace) -> int:
    from twofold.training.bundle_ops.record_metrics import record
    from twofold.training.evaluation.evaluate import evaluate as measure
    from twofold.training.evaluation.metric_table import table

    if args.quick and args.record:
        raise UsageError("--record writes figures, and --quick makes none: leave one of them out")
    others, seeds = ([_read_evaluation(path) for path in paths] for paths in (args.beside, args.seeds))
    out = args.out or Path(f"{args.bundle}.{args.split}.json")
    result = measure(args.bundle, args.data, args.eval_classifier, out, args.split, args.quick, log=_say)
    results = _titled([result, *others])
    try:
        print(table(results, seeds), end="")
    except ValueError as error:
        raise UsageError(f"--beside and --seeds: {error}") from error
    if args.record:
        record(args.bundle, results, seeds)
    return 0


def _read_evaluation(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = found["bundle"]["name"], found["bundle"]["model_hash"], found["values"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path.name} is not what evaluate writes") from error
    return found


def _titled(evaluations: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each evaluation under its model's name, a second model of that name under name@hash."""
    results: dict[str, dict[str, Any]] = {}
    for one in evaluations:
        name, model_hash = one["bundle"]["name"], one["bundle"]["model_hash"]
        results[f"{name}@{model_hash[:8]}" if name in results else name] = one
    return results


def report(args: argparse.Namespace) -> int:
    from twofold.training.reporting.report import default_out, subjects
    from twofold.training.reporting.report import report as write

    found = subjects(args.runs, args.bundle, args.evaluation)
    print(
        write(
            found,
            args.data,
            args.eval_classifier or args.runs[0] / "eval_classifier",
            args.out or default_out(found),
            args.beside,
            log=_say,
        )
    )
    return 0


def figures(args: argparse.Namespace) -> int:
    from twofold.training.reporting.paper_figures import figures as draw_all

    for path in draw_all(args.bundle, args.data, args.out, args.seed, log=_say):
        print(path)
    return 0


def reproduce(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from twofold.training.config.schema import read
    from twofold.training.experiments.ablation_plan import read_plan
    from twofold.training.experiments.ablations import AblationOptions
    from twofold.training.experiments.ablations import reproduce as make
    from twofold.training.trainer.malloc import keep_memory

    _threads(args.threads)
    keep_memory()
    plan = read_plan()
    plan = replace(plan, scale=args.scale or plan.scale)
    rows = tuple(args.rows or ())
    print(
        make(
            AblationOptions(
                args.data,
                args.out,
                args.eval_classifier or args.out / "eval_classifier",
                read(args.config),
                plan,
                rows,
                args.split,
                args.quick,
            ),
            _say,
        )
    )
    return 0


def extras(args: argparse.Namespace) -> int:
    from twofold.training.bundle_ops.refresh_extras import renew_extras

    print(renew_extras(args.bundle, args.data))
    return 0


def toy(args: argparse.Namespace) -> int:
    from twofold.training.experiments.three_moons import PLOT
    from twofold.training.experiments.three_moons import toy as play

    _threads(1)
    play(args.out, args.seed, log=_say)
    print(args.out / PLOT)
    return 0


def push(args: argparse.Namespace) -> int:
    from twofold.training.bundle_ops.push import push as upload

    print(upload(args.bundle, args.name, args.private))
    return 0


def _show(asked: DataConfig, data: Path, train: Pictures, validation: Pictures, say: Callable[[str], object]) -> None:
    """What a person should know of the pictures before any training."""
    from twofold.training.data.summary import find_test_split, survey

    for line in survey(train, validation, find_test_split(asked, data)):
        say(line)


def _threads(count: int) -> None:
    import torch

    if count:
        torch.set_num_threads(count)


def _save_on_signals(trainer: Trainer) -> None:
    """Ctrl-C and SIGTERM finish the step, save, and stop; a second Ctrl-C stops at once."""

    def ask(number: int, frame: object) -> None:
        trainer.stopping = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGTERM, ask)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _hush(text: str) -> None:
    """What a process says that is not the first of its team."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="twofold-train", description="Train, evaluate, export and report a class/style model.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=run)
        return sub

    sub = command("init", init, "look at a data set and write a configuration that fits it and the time at hand")
    sub.add_argument("data", type=Path, metavar="DIR", help=DATA)
    sub.add_argument("--out", type=Path, default=Path("twofold.toml"), help="file to write (twofold.toml)")
    sub.add_argument("--minutes", type=float, default=20.0, help="time that training may take on this machine (20)")
    sub.add_argument("--size", type=int, default=0, help="pixels a side, e.g. 64 (0: as the pictures are)")
    sub.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    sub = command("train", train, "train a configuration on a data set; takes up a run that was stopped")
    sub.add_argument("config", help="a TOML file, or a preset: fashion, mnist, sprites, cifar10, paper, tiny")
    sub.add_argument("--data", type=Path, required=True, help=DATA)
    sub.add_argument("--out", type=Path, required=True, help="run folder")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override, dotted: --set stage.0.epochs=2")
    sub.add_argument(
        "--start", type=Path, metavar="RUN", help="begin after the stages that RUN's configuration has in common with this one"
    )
    sub.add_argument("--dry-run", action="store_true", help="print configuration, parameters, memory and time, write OUT/batch.png")
    sub.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    sub.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu or cuda")
    sub.add_argument("--keep-every", type=int, default=0, metavar="N", help="keep a checkpoint of every Nth step (0: last and best only)")
    sub = command("eval-classifier", eval_classifier, "train the independent evaluation classifier that scores pictures")
    sub.add_argument("--data", type=Path, required=True, help=DATA)
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument("--config", help="configuration whose size and preprocessing the pictures get (default: as they are)")
    sub.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    sub = command("export", export, "make a bundle of a finished run, proved against torch")
    sub.add_argument("run", type=Path, metavar="RUN", help="run folder")
    sub.add_argument("--data", type=Path, required=True, help="the data set the run was trained on")
    sub.add_argument("--out", type=Path, required=True, help="folder of the bundle; replaced if it is there")
    sub.add_argument("--checkpoint", metavar="FILE", help="another checkpoint of the last stage in RUN, as best.pt (default: last.pt)")
    sub.add_argument("--name", help="name of the model (default: that of the configuration)")
    sub.add_argument(
        "--include", type=Path, action="append", default=[], metavar="FILE", help="a file to put into the bundle, as credits or a licence"
    )
    sub.add_argument(
        "--precision", choices=("fp32", "int8"), default="fp32", help="int8: smaller and faster, with rounding that is measured (fp32)"
    )
    sub = command("evaluate", evaluate, "measure an exported bundle as it is served; prints a table")
    sub.add_argument("bundle", type=Path, metavar="BUNDLE")
    sub.add_argument("--data", type=Path, required=True)
    sub.add_argument("--eval-classifier", type=Path, required=True, help="folder of `twofold-train eval-classifier`")
    sub.add_argument("--split", choices=("test", "validation"), default="test", help="choose on validation; test once, for the figures")
    sub.add_argument("--out", type=Path, help="evaluation.json (default: beside the bundle)")
    sub.add_argument("--beside", type=Path, action="append", default=[], metavar="JSON", help="another evaluation for the table")
    sub.add_argument(
        "--seeds", type=Path, action="append", default=[], metavar="JSON", help="evaluation of the same configuration from another seed"
    )
    sub.add_argument("--quick", action="store_true", help="a sample of the pictures: for tests, not for figures")
    sub.add_argument("--record", action="store_true", help="write the figures into the bundle's card and model card")
    sub = command("report", report, "one page that shows what a run has learned; two runs are compared side by side")
    sub.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folder, or a bundle; give two to compare them")
    sub.add_argument("--data", type=Path, required=True, help="the data set the run was trained on")
    sub.add_argument("--bundle", type=Path, action="append", default=[], help="its bundle (default: RUN/bundle); once for each RUN")
    sub.add_argument("--eval-classifier", type=Path, help="folder of `twofold-train eval-classifier` (default: RUN/eval_classifier)")
    sub.add_argument(
        "--evaluation", type=Path, action="append", default=[], metavar="JSON", help="default: RUN/evaluation.json; made if missing"
    )
    sub.add_argument("--beside", type=Path, action="append", default=[], metavar="JSON", help="evaluation of a baseline, for the table")
    sub.add_argument("--out", type=Path, help="folder for report.html and report.json (default: RUN/report, or beside a bundle)")
    sub = command("figures", figures, "the paper's experiments as pictures of a bundle: styles, exchange, interpolation, inpainting, codes")
    sub.add_argument("bundle", type=Path, metavar="BUNDLE")
    sub.add_argument("--data", type=Path, required=True)
    sub.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    sub.add_argument("--seed", type=int, default=0, help="of the styles and pictures that are shown (0)")
    sub = command(
        "reproduce",
        reproduce,
        "train and measure baselines and ablations, as training/experiments/ablations.toml lists them; prints a table",
    )
    sub.add_argument("config", nargs="?", default="fashion", help="a TOML file, or a preset, that every row is a change of (fashion)")
    sub.add_argument("--data", type=Path, required=True, help=DATA)
    sub.add_argument("--out", type=Path, required=True, help="folder for table.md, table.json and the rows' runs; takes up what is there")
    sub.add_argument(
        "--eval-classifier", type=Path, help="folder of `twofold-train eval-classifier`; trained if missing (default: OUT/eval_classifier)"
    )
    sub.add_argument("--rows", nargs="+", metavar="NAME", help="these rows only (default: all)")
    sub.add_argument("--scale", type=float, help="share of the configuration's epochs (default: that of ablations.toml)")
    sub.add_argument("--split", choices=("test", "validation"), default="validation")
    sub.add_argument("--quick", action="store_true", help="measure on a sample of the pictures: for tests, not for figures")
    sub.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    sub = command("extras", extras, "make a bundle's calibration, style directions, map and examples again, without its checkpoint")
    sub.add_argument("bundle", type=Path, metavar="BUNDLE")
    sub.add_argument("--data", type=Path, required=True, help="the data set that the model was trained on")
    sub = command("toy", toy, "the paper's three moons in the plane: our method beside a cVAE-GAN, in two minutes of one thread")
    sub.add_argument("--out", type=Path, required=True, help="folder for three-moons.svg and three-moons.json")
    sub.add_argument("--seed", type=int, default=0)
    sub = command("push", push, "put a bundle on a hub as it is; prints the name by which `twofold serve --bundle` takes it")
    sub.add_argument("bundle", type=Path, metavar="BUNDLE")
    sub.add_argument("name", metavar="USER/NAME", help="the repository; made if it isn't there")
    sub.add_argument("--private", action="store_true", help="if the repository is made: for you alone")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        return int(args.command(args))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from twofold.model.contract import ContractError
        from twofold.training.bundle_ops.push import PushError
        from twofold.training.config.schema import ConfigError
        from twofold.training.data.dataset import DataError
        from twofold.training.trainer.checkpoint import CheckpointError

        if isinstance(error, UsageError | ConfigError | DataError | CheckpointError | ContractError | PushError):
            print(f"twofold-train: {error}", file=sys.stderr)
            return 2
        from twofold.training.export.bundle import ExportError
        from twofold.training.trainer.step import Diverged

        if isinstance(error, Diverged | ExportError):
            print(f"twofold-train: {error}", file=sys.stderr)
            return 5
        raise


if __name__ == "__main__":
    sys.exit(main())
