"""Declared parameters as options of a command: name, default, bounds and help come from `runtime.parameters`. Loads nothing else."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping

from twofold.service.runtime.parameters import HARD_MAX_ITEMS, Parameter


def add_parameters(
    command: argparse._ActionsContainer, parameters: Mapping[str, Parameter], *names: str, check: bool = False, required: str = ""
) -> None:
    """An option for each of `names`, in order: `-n`, `--class-temperature`. `required` is the one without which there is no command.

    Bounds are checked here only with `check`, for commands that send no request; else the service refuses, in the same words for all.
    """
    for name in names:
        _add(command, name, parameters[name], check, required == name)


def _add(command: argparse._ActionsContainer, name: str, parameter: Parameter, check: bool, required: bool) -> None:
    option = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
    if parameter.kind is bool:
        command.add_argument(option, action="store_true", help=parameter.about)
    elif parameter.choices:
        command.add_argument(option, choices=parameter.choices, default=parameter.default, help=_help(parameter))
    else:
        convert = (_whole if parameter.kind is int else _number)(parameter) if check else parameter.kind
        command.add_argument(option, type=convert, default=parameter.default, required=required, help=_help(parameter))


def _help(parameter: Parameter) -> str:
    """Its bounds, what it is for, and its default."""
    bounds = "" if parameter.choices or parameter.high == HARD_MAX_ITEMS else parameter.range
    about = "; ".join(filter(None, (bounds, parameter.help or parameter.about)))
    return about if parameter.default is None else f"{about} (default %(default)s)"


def _whole(parameter: Parameter) -> Callable[[str], int]:
    low, high = int(parameter.low), int(parameter.high)

    def parse(text: str) -> int:
        if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _number(parameter: Parameter) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not parameter.low <= value <= parameter.high:
            raise argparse.ArgumentTypeError(f"must be a number from {parameter.low:g} to {parameter.high:g}")
        return value

    return parse
