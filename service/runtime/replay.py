"""A recipe that was read from a file back to the operation that makes its picture, or the reason why there is none.

It does not know how a picture carries a recipe, nor how codes become pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from twofold.service.runtime import latents
from twofold.service.runtime.operations import OPERATIONS, Operation
from twofold.service.runtime.registry import Model

_HASH = re.compile(r"[0-9a-f]{64}")


def operation(recipe: Mapping[str, object], model: Model) -> Operation:
    """What makes the picture of a recipe in which `obstacle` found none. Raises Invalid when a part is missing or out of its bounds."""
    return OPERATIONS[str(recipe["do"])].from_recipe(recipe, model)


def obstacle(recipe: Mapping[str, object], model: Model) -> str | None:
    """Why this model cannot make the picture again; None where it can."""
    made_by = recipe.get("model_hash")
    if made_by != model.card.model_hash:
        named = made_by[:8] if isinstance(made_by, str) and _HASH.fullmatch(made_by) else "unknown"
        return f"the picture was made by model {named}, and this is model {model.card.model_hash[:8]}"
    do = recipe.get("do")
    if not isinstance(do, str) or do not in OPERATIONS:
        return "pictures of this kind cannot be made again from their recipe alone"
    if "directions" in recipe and recipe.get("directions_hash") != _directions_hash(model):
        return "the picture was moved along directions of style that this bundle does not have"
    return None


def _directions_hash(model: Model) -> str | None:
    return None if model.directions is None else latents.directions_hash(model.directions.directions)
