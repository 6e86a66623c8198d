"""The commands that are one call of the client: arguments in, pictures or lines out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from twofold.service.cli import output
from twofold.service.cli.arguments import open_client, read_picture
from twofold.service.cli.exit_codes import CHECK_FAILED, OK
from twofold.service.client import Client
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.parameters import EDIT, GENERATE


def run(arguments: argparse.Namespace) -> int:
    """Run the command that `arguments` names; returns its exit code."""
    with open_client(arguments) as client:
        return COMMANDS[arguments.command](client, arguments) or OK


def generate(client: Client, a: argparse.Namespace) -> None:
    """Pictures of a class, to stdout or files."""
    form = output.format_of(a)
    options = {name: getattr(a, name) for name in GENERATE if name != "format"}
    output.deliver(client.generate(a.class_, **options, format=form, model=a.model), a)


def encode(client: Client, a: argparse.Namespace) -> None:
    """A line, or JSON, for each picture, to stdout."""
    found = client.encode([read_picture(one) for one in a.pictures], model=a.model)
    if a.json:
        output.print_json({"model": found.model, "items": [one.entry for one in found], "timings_ms": found.timings_ms})
        return
    for name, one in zip(a.pictures, found, strict=True):
        output.print_line(name, one.class_.name, one.class_.prob, one.typicality, one.code)


def decode(client: Client, a: argparse.Namespace) -> None:
    """Pictures of codes, to stdout or files."""
    form = output.format_of(a)
    items = [item for text in a.items for item in ([text] if text != "-" else sys.stdin.read().split("\n")) if item.strip()]
    output.deliver(client.decode([parse_item(item.strip()) for item in items], format=form, model=a.model), a)


def swap(client: Client, a: argparse.Namespace) -> None:
    """A swap, or the matrix of several, to stdout or files."""
    form = output.format_of(a)
    rows, cols = ([read_picture(one) for one in side] for side in (a.class_from, a.style_from))
    output.deliver(client.swap(rows, cols, verdict=a.verdict, format=form, model=a.model), a)


def interpolate(client: Client, a: argparse.Namespace) -> None:
    """Frames between keys, as a row or an animation, to stdout or files."""
    form = output.format_of(a, animated=True)
    way = {"vary": a.vary, "path": a.path, "seed": a.seed, "model": a.model}
    keys = [parse_key(text) for text in a.keys]
    if form == "gif" or a.animate:
        moving: Any = "gif" if form == "png" else form
        output.write_animation(client.animate(keys, a.frames, fps=a.fps, format=moving, **way), a)
    else:
        output.deliver(client.interpolate(keys, a.frames, verdict=a.verdict, format=form, **way), a)


def edit(client: Client, a: argparse.Namespace) -> None:
    """A picture in another class or other styles, to stdout or files."""
    form = output.format_of(a)
    options = {name: getattr(a, name) for name in EDIT if name != "format"}
    output.deliver(client.edit(read_picture(a.image), a.class_, directions=a.directions, **options, format=form, model=a.model), a)


def inpaint(client: Client, a: argparse.Namespace) -> None:
    """A picture with its hole filled, to stdout or files."""
    form = output.format_of(a)
    mask = None if a.mask is None else read_picture(a.mask)
    output.deliver(client.inpaint(read_picture(a.image), mask, a.box, steps=a.steps, format=form, model=a.model), a)


def inspect(client: Client, a: argparse.Namespace) -> int:
    """The recipe of a picture, to stdout."""
    found = client.inspect(read_picture(a.image), verify=a.verify, model=a.model)
    output.print_json(asdict(found) if a.json else found.recipe)
    for note in found.notes:
        print(f"twofold: {note}", file=sys.stderr)
    return CHECK_FAILED if a.verify and not found.verified else OK


def models(client: Client, a: argparse.Namespace) -> None:
    """The served models, or the classes of one, to stdout."""
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


def parse_key(text: str) -> Any:
    """class=CLASS and JSON objects as mappings, anything else as a picture. Raises Invalid."""
    if text.startswith("class="):
        return {"class": text.removeprefix("class=")}
    return parse_item(text) if text.startswith("{") else read_picture(text)


def parse_item(text: str) -> Any:
    """A token as it is; a JSON object parsed. Raises Invalid."""
    if not text.startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise Invalid("What begins with { must be a JSON object.") from None


COMMANDS: dict[str, Callable[[Client, argparse.Namespace], int | None]] = {
    "generate": generate,
    "encode": encode,
    "decode": decode,
    "swap": swap,
    "interpolate": interpolate,
    "edit": edit,
    "inpaint": inpaint,
    "inspect": inspect,
    "models": models,
}
