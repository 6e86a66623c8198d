"""`twofold`: the commands and their options. Heavy imports wait until a command needs them; stdout is data, stderr is messages.

Exit codes: 0 ok, 1 our fault, 2 usage or bad input, 3 unreachable or busy, 4 not found, 5 a check failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from twofold import __version__
from twofold.service.cli.exit_codes import BAD_INPUT, BUSY, INTERRUPTED, NOT_FOUND, OK, OURS
from twofold.service.cli.options import add_parameters
from twofold.service.datasets.plan import AUGMENT, COUNTERFACTUAL, SYNTHESIZE
from twofold.service.runtime.parameters import EDIT, GENERATE, INPAINT, INSPECT, INTERPOLATE, SWAP


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has closed the pipe, which is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _complain(error)


def _run(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "serve":
            from twofold.service.cli.serve import run
        case "doctor":
            from twofold.service.cli.doctor import run
        case "replay":
            from twofold.service.cli.replay_image import run
        case "synthesize" | "augment" | "counterfactual":
            from twofold.service.cli.datasets import run
        case _:
            from twofold.service.cli.calls import run
    return run(arguments)


def _complain(error: Exception) -> int:
    """One line for what is known to go wrong; a fault of ours keeps its traceback."""
    from twofold.model.contract import ContractError
    from twofold.service.client import Unreachable
    from twofold.service.runtime import errors
    from twofold.service.settings import SettingsError

    message = str(error)
    if isinstance(error, errors.NotFound | FileNotFoundError):
        code = NOT_FOUND
    elif isinstance(error, errors.Unavailable | errors.DeadlinePassed | Unreachable):
        code = BUSY
    elif isinstance(error, ContractError | SettingsError | OSError):
        code = BAD_INPUT
    elif isinstance(error, errors.TwofoldError):
        code = OURS if error.code == "internal" else BAD_INPUT
    else:
        raise error
    if isinstance(error, errors.TwofoldError) and error.allowed and error.allowed not in message:
        message += f" ({error.allowed})"
    print(f"twofold: {message}", file=sys.stderr)
    return code


# --------------------------------------------------------------------------------------------------------------- options

_PICTURE = "a file, - for stdin, or a code token"
_CLASS = "an index, a name, or the beginning of one"


def _bundle(command: argparse._ActionsContainer, note: str = "; repeatable, the first is the default") -> None:
    about = f"a bundle folder, or hf:USER/NAME[@REVISION] on a hub{note}"
    command.add_argument("--bundle", type=Path, action="append", metavar="BUNDLE", help=about)


def _output(command: argparse.ArgumentParser) -> None:
    name = command.prog.split()[-1]
    command.add_argument("--format", choices=("png", "webp"), help="of the file (default png, or what the suffix of --out says)")
    about = f"a .png or .webp (several are one sheet), a folder with / at its end for a file each, or - for stdout (default {name}.png)"
    command.add_argument("--out", metavar="PATH", help=about)


def _model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", metavar="NAME", help="a name from `twofold models` (default: the first)")


def _connection(command: argparse.ArgumentParser) -> None:
    where = command.add_mutually_exclusive_group()
    where.add_argument("--server", metavar="URL", type=_url, help="ask a server instead of running the model here")
    _bundle(where)
    command.add_argument("--json", action="store_true", help="print the answer as JSON, pictures in base64")


def _set(command: argparse.ArgumentParser) -> None:
    about = "a folder, or a file named .parquet; the same command again continues in it"
    command.add_argument("--out", type=Path, required=True, metavar="OUT", help=about)
    _bundle(command, " (what TWOFOLD_BUNDLE says, else the embedded one)")
    command.add_argument("--json", action="store_true", help="a summary on stdout")


def _directions(text: str) -> dict[str, float]:
    try:
        return {name: float(weight) for name, weight in (part.split(":") for part in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError("must be written as 0:1.5,2:-1") from None


def _box(text: str) -> list[int]:
    try:
        x, y, width, height = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError("must be four whole numbers: x,y,width,height") from None
    return [x, y, width, height]


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError("must begin with http:// or https://")
    return text


# -------------------------------------------------------------------------------------------------------------- commands

Options = Callable[[argparse.ArgumentParser], None]
_COMMANDS: list[tuple[Options, str, tuple[Options, ...]]] = []  # in the order of the help


def parser() -> argparse.ArgumentParser:
    """Every command with its options; the names and defaults are those of the HTTP interface."""
    top = argparse.ArgumentParser(prog="twofold", description="Take pictures apart into class and style, and put the codes together again.")
    top.add_argument("--version", action="version", version=f"twofold {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for own, summary, shared in _COMMANDS:
        command = commands.add_parser(own.__name__, help=summary, description=own.__doc__)
        for add in (own, *shared):
            add(command)
    return top


def _command(summary: str, *shared: Options) -> Callable[[Options], Options]:
    """Makes a command of a function that adds its own options, before `shared` ones; its docstring is the description in the help."""

    def register(own: Options) -> Options:
        _COMMANDS.append((own, summary, shared))
        return own

    return register


@_command("serve one or several bundles over HTTP", _bundle)
def serve(command: argparse.ArgumentParser) -> None:
    """Every setting is also a TWOFOLD_* variable."""
    command.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    command.add_argument("--port", type=int, help="TCP port to listen on (default 8000; 0 takes a free one)")


@_command("pictures of a class", _output, _model, _connection)
def generate(command: argparse.ArgumentParser) -> None:
    """Pictures of a class. Picture k has index INDEX + k, and can be had alone."""
    command.add_argument("class_", metavar="CLASS", help=_CLASS)
    add_parameters(command, GENERATE, "n", "seed", "index", "temperature", "class_temperature", "sampler")


@_command("take pictures apart", _model, _connection)
def encode(command: argparse.ArgumentParser) -> None:
    """A line for each picture: file, class, its probability, typicality (- without calibration), code token; separated by tabs."""
    command.add_argument("pictures", metavar="PICTURE", nargs="+", help="a file, or - for stdin")


@_command("put codes together", _output, _model, _connection)
def decode(command: argparse.ArgumentParser) -> None:
    """Codes to pictures.

    An ITEM is a code token, a JSON object such as {"class": 7, "seed": 1}, or - for one of these a line of stdin.
    """
    command.add_argument("items", metavar="ITEM", nargs="+", help="a code token, a JSON object, or - for stdin")


@_command("the class of one, the style of another", _output, _model, _connection)
def swap(command: argparse.ArgumentParser) -> None:
    """The class of some pictures with the style of others; several give the whole matrix."""
    for name, what in (("--class-from", "rows"), ("--style-from", "columns")):
        command.add_argument(name, nargs="+", action="extend", required=True, metavar="PICTURE", help=f"the {what}: {_PICTURE}; repeatable")
    add_parameters(command, SWAP, "verdict")


@_command("frames between pictures, codes or classes", _output, _model, _connection)
def interpolate(command: argparse.ArgumentParser) -> None:
    """Frames on the way from the first KEY to the last, as one row, or as one moving picture."""
    keys = f'{_PICTURE}, class=CLASS, or a JSON object such as {{"class": 7, "seed": 1}}'
    command.add_argument("keys", metavar="KEY", nargs="+", help=keys)
    add_parameters(command, INTERPOLATE, "frames", "vary", "path", "seed", "verdict", "animate", "fps")


@_command("a picture as another class, or in other styles", _output, _model, _connection)
def edit(command: argparse.ArgumentParser) -> None:
    """A picture in the same style as another class, moved along directions of style, or n times in other styles."""
    command.add_argument("image", metavar="PICTURE", help=_PICTURE)
    command.add_argument("--class", dest="class_", metavar="CLASS", help=_CLASS)
    add_parameters(command, EDIT, "strength")
    about = "weights from -4 to 4 of directions of style: 0:1.5,2:-1"
    command.add_argument("--directions", metavar="I:W,...", type=_directions, help=about)
    add_parameters(command, EDIT, "n", "seed", "index", "style_spread", "temperature", "verdict")


@_command("fill a hole", _output, _model, _connection)
def inpaint(command: argparse.ArgumentParser) -> None:
    """Fill a hole in a picture; what is around it stays as it is, to the byte."""
    command.add_argument("image", metavar="PICTURE", help="a file, or - for stdin")
    hole = command.add_mutually_exclusive_group(required=True)
    hole.add_argument("--mask", metavar="PICTURE", help="a picture, white where to fill")
    hole.add_argument("--box", metavar="X,Y,W,H", type=_box, help="the hole in the model's pixels")
    add_parameters(command, INPAINT, "steps")


@_command("the recipe of a picture", _model, _connection)
def inspect(command: argparse.ArgumentParser) -> None:
    """Print the recipe a picture carries, as JSON. With --verify it is made again, and what does not hold ends with 5."""
    command.add_argument("image", metavar="PICTURE", help="a PNG or WebP made here, or - for stdin")
    add_parameters(command, INSPECT, "verify")


@_command("make a picture again from its recipe", _connection)
def replay(command: argparse.ArgumentParser) -> None:
    """Make a picture again from the recipe it carries. With --check compare, and end with 5 when they differ."""
    command.add_argument("picture", metavar="PICTURE", help="a PNG or WebP made here, or - for stdin")
    does = command.add_mutually_exclusive_group()
    does.add_argument("--check", action="store_true", help="compare with the picture, and write nothing")
    does.add_argument("--out", metavar="PATH", help="where to write it: .png, .webp, or - for stdout (default replay.png)")


@_command("what is served, and its classes", _connection)
def models(command: argparse.ArgumentParser) -> None:
    """A line for each model, the default first; with NAME, for each of its classes. Separated by tabs."""
    command.add_argument("model", metavar="NAME", nargs="?", help="a model whose classes to list")


@_command("check this machine and the bundles")
def doctor(command: argparse.ArgumentParser) -> None:
    """Check what serving needs: versions, settings, bundles with their self-tests, the port, memory. Ends with 0 or 5."""
    command.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    command.add_argument("--port", type=int, help="TCP port that should be free (default 8000)")
    _bundle(command, "; repeatable")
    command.add_argument("--json", action="store_true", help="print JSON")


@_command("make a whole data set of generated pictures", _set)
def synthesize(command: argparse.ArgumentParser) -> None:
    """Generated pictures, as many of every class. Picture k of a class is that of GET /generate?class=...&seed=S&index=k."""
    add_parameters(command, SYNTHESIZE, *SYNTHESIZE, check=True, required="per_class")


@_command("make other pictures of the same classes from a folder of pictures", _set)
def augment(command: argparse.ArgumentParser) -> None:
    """Same class, other styles. DIR has one sub-folder of pictures for each class."""
    command.add_argument("folder", type=Path, metavar="DIR")
    add_parameters(command, AUGMENT, *AUGMENT, check=True)


@_command("show every picture of a folder as another class, in its own style", _set)
def counterfactual(command: argparse.ArgumentParser) -> None:
    """Same style, another class, which labels the result. DIR has one sub-folder of pictures for each class."""
    command.add_argument("folder", type=Path, metavar="DIR")
    command.add_argument("--to", required=True, metavar="CLASS", help=_CLASS)
    add_parameters(command, COUNTERFACTUAL, *COUNTERFACTUAL, check=True)


if __name__ == "__main__":
    sys.exit(main())
