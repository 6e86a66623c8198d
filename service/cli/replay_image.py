"""twofold replay: a picture's recipe to the picture, made again; with --check compared.

The picture is asked of the route that made it, so that its recipe is the same and a server can be used. A recipe may come from anyone: it
names fields of routes, and the service checks them as those of any request.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twofold.service.cli import output
from twofold.service.cli.arguments import open_client, read_picture
from twofold.service.cli.exit_codes import CHECK_FAILED, OK
from twofold.service.client import Client, Picture, Pictures
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.parameters import INTERPOLATE

_NO_FIELDS = ("do", "model", "model_hash", "n", "provider", "service", "twofold")  # what a recipe says beside the fields of its route


def run(arguments: argparse.Namespace) -> int:
    """Make the picture again from its recipe, or compare with --check; returns the exit code. Raises Invalid without a recipe."""
    sent = read_picture(arguments.picture)
    picture = Picture.of(sent if isinstance(sent, bytes) else Path(sent).read_bytes())
    recipe = picture.recipe
    if recipe is None:
        raise Invalid("The picture carries no recipe.")
    form = output.format_of(argparse.Namespace(out=arguments.out or f"replay{picture.suffix}", json=arguments.json))
    with open_client(arguments) as client:
        again = make(client, recipe, picture.suffix[1:] if arguments.check else form)
    if arguments.check:
        return _check(picture, again.sheet(), arguments)
    output.write(again, arguments.out or f"replay.{form}")
    return OK


def make(client: Client, recipe: Mapping[str, Any], form: Any) -> Pictures:
    """The picture of a recipe, or the pictures of a sheet's. Raises Invalid where it is none, or its kind cannot be made again."""
    try:
        if "fps" in recipe:
            raise Invalid("An animation is not made again; the recipe of every frame stands in it.")
        if "pictures" not in recipe:
            return _one(client, recipe, form)
        rows, cols = int(recipe["rows"]), int(recipe["cols"])
        cells = [_one(client, cell, form) for cell in recipe["pictures"]]
        if not len(cells) <= rows * cols < len(cells) + cols:
            raise ValueError
        card = client.card(cells[0].model.rpartition("@")[0])
        return Pictures([cell[0] for cell in cells], rows, cols, card["preprocessing"]["background"], model=cells[0].model)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise Invalid("The picture's recipe was changed: it is not one of this service.") from None


def _one(client: Client, recipe: Mapping[str, Any], form: Any) -> Pictures:
    fields = {key: value for key, value in recipe.items() if key not in _NO_FIELDS}
    common: dict[str, Any] = {"format": form, "model": recipe["model"]}
    match recipe["do"]:
        case "generate":
            return client.generate(fields.pop("class"), **fields, **common)
        case "decode":
            return client.decode(fields.get("code", fields), **common)
        case "swap":
            return client.swap(fields["class_from"], fields["style_from"], **common)
        case "interpolate":
            return _frame(client, fields, common)
        case "edit":
            fields.pop("directions_hash", None)
            return client.edit(fields.pop("code"), fields.pop("class", None), **fields, **common)
    raise Invalid("Pictures of this kind cannot be made again from their recipe alone.")


def _frame(client: Client, fields: Mapping[str, Any], common: Mapping[str, Any]) -> Pictures:
    """The frame at t between two codes, out of the shortest way that has it."""
    t = fields["t"]
    if not 0 <= t <= 1:
        raise ValueError
    steps = min(n for n in range(1, int(INTERPOLATE["frames"].high)) if round(t * n) / n == t)
    way = client.interpolate([fields["from"], fields["to"]], steps + 1, path=fields["path"], **common)
    return Pictures([way[round(t * steps)]], 1, 1, model=way.model)


def _check(picture: Picture, again: Picture, arguments: argparse.Namespace) -> int:
    """Say whether the pixels are the same, and what the recipes say differently."""
    before, after = np.asarray(picture).astype(int), np.asarray(again).astype(int)
    difference = int(np.abs(before - after).max()) if before.shape == after.shape else None
    notes = [f"{key} was {_shown(old)}, and is {_shown(new)}" for key, old, new in _changes(picture, again)]
    if arguments.json:
        output.print_json({"same": difference == 0, "max_difference": difference, "notes": notes})
    else:
        for note in notes:
            print(f"twofold: {note}", file=sys.stderr)
        print("same" if difference == 0 else "another size" if difference is None else f"differs by up to {difference} grey levels")
    return OK if difference == 0 else CHECK_FAILED


def _changes(picture: Picture, again: Picture) -> list[tuple[str, object, object]]:
    found = [one.recipe or {} for one in (picture, again)]
    old, new = (one["pictures"][0] if "pictures" in one else one for one in found)
    return [
        (key, old.get(key), new.get(key))
        for key in ("model_hash", "directions_hash", "provider", "service")
        if old.get(key) != new.get(key)
    ]


def _shown(value: object) -> str:
    return str(value)[:40]
