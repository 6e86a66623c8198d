"""`twofold`: the commands and their options. Heavy imports wait until a command needs them; stdout is data, stderr is messages.

Exit codes: 0 ok, 1 our fault, 2 usage or bad input, 3 unreachable or busy, 4 not found, 5 a check failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from twofold import __version__
from twofold.service.cli import datasets
from twofold.service.cli.exit_codes import BAD_INPUT, BUSY, INTERRUPTED, NOT_FOUND, OK, OURS
from twofold.service.cli.options import add_parameters
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


# -------------------------------------------------------------------------------------------------------------- commands


def parser() -> argparse.ArgumentParser:
    """Every command with its options; the names and defaults are those of the HTTP interface."""
    top = argparse.ArgumentParser(prog="twofold", description="Take pictures apart into class and style, and put the codes together again.")
    top.add_argument("--version", action="version", version=f"twofold {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return top


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # the only name it has
_PICTURE = "a file, - for stdin, or a code token"


def add_serve(commands: Commands) -> None:
    """Options of `serve`."""
    about = "Every setting is also a TWOFOLD_* variable."
    command = commands.add_parser("serve", help="serve one or several bundles over HTTP", description=about)
    command.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    command.add_argument("--port", type=int, help="TCP port to listen on (default 8000; 0 takes a free one)")
    _add_bundle(command, "the first is the default")


def add_generate(commands: Commands) -> None:
    """Options of `generate`."""
    about = "Pictures of a class. Picture k has index INDEX + k, and can be had alone."
    command = commands.add_parser("generate", help="pictures of a class", description=about)
    command.add_argument("class_", metavar="CLASS", help="an index, a name, or the beginning of one")
    add_parameters(command, GENERATE, "n", "seed", "index", "temperature", "class_temperature", "sampler")
    _add_output(command)
    _add_connection(command)


def add_encode(commands: Commands) -> None:
    """Options of `encode`."""
    about = "A line for each picture: file, class, its probability, typicality (- without calibration), code token; separated by tabs."
    command = commands.add_parser("encode", help="take pictures apart", description=about)
    command.add_argument("pictures", metavar="PICTURE", nargs="+", help="a file, or - for stdin")
    _add_connection(command)


def add_decode(commands: Commands) -> None:
    """Options of `decode`."""
    about = (
        'Codes to pictures. An ITEM is a code token, a JSON object such as {"class": 7, "seed": 1}, or - for one of these a line of stdin.'
    )
    command = commands.add_parser("decode", help="put codes together", description=about)
    command.add_argument("items", metavar="ITEM", nargs="+", help="a code token, a JSON object, or - for stdin")
    _add_output(command)
    _add_connection(command)


def add_swap(commands: Commands) -> None:
    """Options of `swap`."""
    about = "The class of some pictures with the style of others; several give the whole matrix."
    command = commands.add_parser("swap", help="the class of one, the style of another", description=about)
    for name, what in (("--class-from", "rows"), ("--style-from", "columns")):
        command.add_argument(name, nargs="+", action="extend", required=True, metavar="PICTURE", help=f"the {what}: {_PICTURE}; repeatable")
    add_parameters(command, SWAP, "verdict")
    _add_output(command)
    _add_connection(command)


def add_interpolate(commands: Commands) -> None:
    """Options of `interpolate`."""
    about = "Frames on the way from the first KEY to the last, as one row, or as one moving picture."
    command = commands.add_parser("interpolate", help="on the way from one to another", description=about)
    keys = f'{_PICTURE}, class=CLASS, or a JSON object such as {{"class": 7, "seed": 1}}'
    command.add_argument("keys", metavar="KEY", nargs="+", help=keys)
    add_parameters(command, INTERPOLATE, "frames", "vary", "path", "seed", "verdict", "animate", "fps")
    _add_output(command)
    _add_connection(command)


def add_edit(commands: Commands) -> None:
    """Options of `edit`."""
    about = "A picture in the same style as another class, moved along directions of style, or n times in other styles."
    command = commands.add_parser("edit", help="the same picture, but", description=about)
    command.add_argument("image", metavar="PICTURE", help=_PICTURE)
    command.add_argument("--class", dest="class_", metavar="CLASS", help="an index, a name, or the beginning of one")
    add_parameters(command, EDIT, "strength")
    command.add_argument(
        "--directions", metavar="I:W,...", type=_directions, help="weights from -4 to 4 of directions of style: 0:1.5,2:-1"
    )
    add_parameters(command, EDIT, "n", "seed", "index", "style_spread", "temperature", "verdict")
    _add_output(command)
    _add_connection(command)


def add_inpaint(commands: Commands) -> None:
    """Options of `inpaint`."""
    about = "Fill a hole in a picture; what is around it stays as it is, to the byte."
    command = commands.add_parser("inpaint", help="fill a hole", description=about)
    command.add_argument("image", metavar="PICTURE", help="a file, or - for stdin")
    hole = command.add_mutually_exclusive_group(required=True)
    hole.add_argument("--mask", metavar="PICTURE", help="a picture, white where to fill")
    hole.add_argument("--box", metavar="X,Y,W,H", type=_box, help="the hole in the model's pixels")
    add_parameters(command, INPAINT, "steps")
    _add_output(command)
    _add_connection(command)


def add_inspect(commands: Commands) -> None:
    """Options of `inspect`."""
    about = "Print the recipe a picture carries, as JSON. With --verify it is made again, and what does not hold ends with 5."
    command = commands.add_parser("inspect", help="the recipe of a picture", description=about)
    command.add_argument("image", metavar="PICTURE", help="a PNG or WebP made here, or - for stdin")
    add_parameters(command, INSPECT, "verify")
    _add_connection(command)


def add_replay(commands: Commands) -> None:
    """Options of `replay`."""
    about = "Make a picture again from the recipe it carries. With --check compare, and end with 5 when they differ."
    command = commands.add_parser("replay", help="make a picture again from its recipe", description=about)
    command.add_argument("picture", metavar="PICTURE", help="a PNG or WebP made here, or - for stdin")
    does = command.add_mutually_exclusive_group()
    does.add_argument("--check", action="store_true", help="compare with the picture, and write nothing")
    does.add_argument("--out", metavar="PATH", help="where to write it: .png, .webp, or - for stdout (default replay.png)")
    _add_connection(command, model=False)


def add_models(commands: Commands) -> None:
    """Options of `models`."""
    about = "A line for each model, the default first; with NAME, for each of its classes. Separated by tabs."
    command = commands.add_parser("models", help="what is served, and its classes", description=about)
    command.add_argument("model", metavar="NAME", nargs="?", help="a model whose classes to list")
    _add_connection(command, model=False)


def add_doctor(commands: Commands) -> None:
    """Options of `doctor`."""
    about = "Check what serving needs: versions, settings, bundles with their self-tests, the port, memory. Ends with 0 or 5."
    command = commands.add_parser("doctor", help="check this machine and the bundles", description=about)
    command.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    command.add_argument("--port", type=int, help="TCP port that should be free (default 8000)")
    _add_bundle(command, "repeatable")
    command.add_argument("--json", action="store_true", help="print JSON")


COMMANDS = (
    add_serve,
    add_generate,
    add_encode,
    add_decode,
    add_swap,
    add_interpolate,
    add_edit,
    add_inpaint,
    add_inspect,
    add_replay,
    add_models,
    add_doctor,
    datasets.add_synthesize,
    datasets.add_augment,
    datasets.add_counterfactual,
)

# --------------------------------------------------------------------------------------------------------------- options


def _add_bundle(command: argparse._ActionsContainer, how: str) -> None:
    about = f"a bundle folder, or hf:USER/NAME[@REVISION] on a hub; {'repeatable, ' if how != 'repeatable' else ''}{how}"
    command.add_argument("--bundle", type=Path, action="append", metavar="BUNDLE", help=about)


def _add_output(command: argparse.ArgumentParser) -> None:
    name = command.prog.split()[-1]
    command.add_argument("--format", choices=("png", "webp"), help="of the file (default png, or what the suffix of --out says)")
    about = f"a .png or .webp (several are one sheet), a folder with / at its end for a file each, or - for stdout (default {name}.png)"
    command.add_argument("--out", metavar="PATH", help=about)


def _add_connection(command: argparse.ArgumentParser, model: bool = True) -> None:
    if model:
        command.add_argument("--model", metavar="NAME", help="a name from `twofold models` (default: the first)")
    where = command.add_mutually_exclusive_group()
    where.add_argument("--server", metavar="URL", type=_url, help="ask a server instead of running the model here")
    _add_bundle(where, "the first is the default")
    command.add_argument("--json", action="store_true", help="print the answer as JSON, pictures in base64")


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


if __name__ == "__main__":
    sys.exit(main())
