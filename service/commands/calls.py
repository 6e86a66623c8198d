"""The commands that are one call of the client: arguments in, pictures or lines out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from service.client import Client
from service.commands import OK, output
from service.commands.doors import given, open_door
from service.errors import Invalid


def run(arguments: argparse.Namespace) -> int:
    with open_door(arguments) as client:
        COMMANDS[arguments.command](client, arguments)
    return OK


def generate(client: Client, a: argparse.Namespace) -> None:
    form = output.format_of(a)
    drawn = {"temperature": a.temperature, "class_temperature": a.class_temperature, "sampler": a.sampler}
    output.deliver(client.generate(a.class_, a.n, seed=a.seed, index=a.index, **drawn, format=form, model=a.model), a)


def encode(client: Client, a: argparse.Namespace) -> None:
    found = client.encode([given(one) for one in a.pictures], model=a.model)
    if a.json:
        output.print_json({"model": found.model, "items": [one.entry for one in found], "timings_ms": found.timings_ms})
        return
    for name, one in zip(a.pictures, found, strict=True):
        output.print_line(name, one.class_.name, one.class_.prob, one.typicality, one.code)


def decode(client: Client, a: argparse.Namespace) -> None:
    form = output.format_of(a)
    items = [item for text in a.items for item in ([text] if text != "-" else sys.stdin.read().split("\n")) if item.strip()]
    output.deliver(client.decode([parse_item(item.strip()) for item in items], format=form, model=a.model), a)


def swap(client: Client, a: argparse.Namespace) -> None:
    form = output.format_of(a)
    rows, cols = ([given(one) for one in side] for side in (a.class_from, a.style_from))
    output.deliver(client.swap(rows, cols, verdict=a.verdict, format=form, model=a.model), a)


def models(client: Client, a: argparse.Namespace) -> None:
    listed: Iterable[Any] = client.models() if a.model is None else client.classes(a.model)
    if a.json:
        output.print_json([asdict(one) for one in listed])
        return
    for one in listed:
        if a.model is None:
            size = "x".join(str(one.dims[side]) for side in ("height", "width", "channels"))
            output.print_line(one.id, f"{one.dims['classes']} classes", size, one.precision, one.provider)
        else:
            output.print_line(one.index, one.name, one.weight)


def parse_item(text: str) -> Any:
    """A token as it is; a JSON object parsed. Raises Invalid."""
    if not text.startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise Invalid("An item must be a code token or a JSON object.") from None


COMMANDS: dict[str, Callable[[Client, argparse.Namespace], None]] = {
    "generate": generate,
    "encode": encode,
    "decode": decode,
    "swap": swap,
    "models": models,
}
