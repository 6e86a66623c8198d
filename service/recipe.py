"""The recipe: what it takes to make a picture again, as canonical JSON that the picture itself carries.

Per picture: model, class as an index, seed, its own index, n = 1, parameters, the parents of a swap, versions. No time, no
request id: GET, POST and batch give the same bytes. It does not know how a picture carries text (imaging does).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from model.contract import Card
from service import __version__

RECIPE_VERSION = 1


class Maker(Protocol):
    """What a recipe says of the model."""

    card: Card
    provider: str


def write(model: Maker, do: str, made_of: Mapping[str, Any]) -> str:
    """Sorted keys, no spaces, UTF-8; floats as Python writes them, so that equal parameters give equal bytes."""
    recipe = {
        "twofold": RECIPE_VERSION,
        "do": do,
        "model": model.card.name,
        "model_hash": model.card.model_hash,
        "provider": model.provider,
        "service": __version__,
        **made_of,
    }
    return json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def write_sheet(recipes: Sequence[str], rows: int, cols: int) -> str:
    """The recipe of a sheet: its shape and the recipes of its cells, in reading order."""
    return f'{{"cols":{cols},"pictures":[{",".join(recipes)}],"rows":{rows},"twofold":{RECIPE_VERSION}}}'
