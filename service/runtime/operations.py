"""The controls, one frozen class each: parameters to codes, and what the recipe of each picture says of them. Pure numpy.

    Generate, Decode, Swap, Interpolate, Edit, Inpaint
      .latents(model) -> z_s [n, D_s], z_u [n, D_u]      .recipe(k) -> Recipe      .from_recipe(recipe, model) -> Operation

Routes, commands that write data sets, `Arrays` and replay use these classes, so a picture is made again by the code that made it. Pictures
that must be encoded first are encoded by the caller, who builds the operation from their codes. Bounds stand in `parameters`; a recipe is
checked against them, because it may come from anyone. This module knows no requests, pictures or graphs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from twofold.model.contract import Card, Dims, Directions, Floats, Prior
from twofold.service.runtime import inpainting, latents, parameters
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.inpainting import Hole
from twofold.service.runtime.latents import Pair
from twofold.service.runtime.parameters import MAX_INDEX, MAX_SEED, PathKind, Sampler, Vary
from twofold.service.runtime.provenance import Fields, Recipe


class LatentModel(Protocol):
    """What an operation needs of a model."""

    card: Card
    prior: Prior
    directions: Directions | None


@dataclass(frozen=True, eq=False)
class Code:
    """Both codes of one picture: z_s [D_s], z_u [D_u]."""

    z_s: Floats
    z_u: Floats
    card: Card

    @classmethod
    def of_token(cls, token: str, card: Card) -> Code:
        """Raises Invalid when the token is damaged, another model's, or holds numbers out of bounds."""
        return cls(*latents.accept_token(token, card), card)

    @cached_property
    def token(self) -> str:
        return latents.pack_token(self.z_s, self.z_u, self.card)

    @property
    def pair(self) -> Pair:
        return self.z_s, self.z_u


Latents = tuple[Floats, Floats]  # z_s [n, D_s], z_u [n, D_u] of n pictures


def _stacked(pairs: Sequence[Pair]) -> Latents:
    return np.stack([z_s for z_s, _ in pairs]), np.stack([z_u for _, z_u in pairs])


OPERATIONS: dict[str, type[Operation]] = {}  # by `do`


class Operation(ABC):
    """What makes n pictures; `do` is its name in recipes and the path of its route. A subclass can be replayed as soon as it exists."""

    do: ClassVar[str]

    def __init_subclass__(cls) -> None:
        OPERATIONS[cls.do] = cls

    @abstractmethod
    def latents(self, model: LatentModel) -> Latents:
        """z_s [n, D_s] and z_u [n, D_u] of its pictures, in order."""

    @abstractmethod
    def recipe(self, k: int) -> Recipe:
        """What it takes to make picture k alone."""

    @classmethod
    @abstractmethod
    def from_recipe(cls, recipe: Mapping[str, object], model: LatentModel) -> Self:
        """The operation that makes the one picture of `recipe`. Raises Invalid when a part is missing or out of its bounds."""

    def decoded_region(self, dims: Dims) -> Hole:
        """Where its pictures are their codes decoded, bool [H, W]: everywhere, but for a filled one in its hole alone."""
        return np.ones((dims.height, dims.width), np.bool_)


@dataclass(frozen=True)
class Generate(Operation):
    """`n` pictures of class `label`. Picture k has index `index + k`; the style of a (seed, index) is the same in every class."""

    do = "generate"

    label: int
    seed: int
    index: int = 0
    n: int = 1
    temperature: float = 1.0
    class_temperature: float = 1.0
    sampler: Sampler = "fitted"

    def latents(self, model: LatentModel) -> Latents:
        prior, seed, indices = model.prior, self.seed, range(self.index, self.index + self.n)
        z_s = [latents.sample_z_s(prior, self.label, seed, k, self.class_temperature, self.sampler) for k in indices]
        z_u = [latents.sample_z_u(prior, seed, k, self.temperature, self.sampler) for k in indices]
        return np.stack(z_s), np.stack(z_u)

    def recipe(self, k: int) -> Recipe:
        return {**self.whole_recipe(), "index": self.index + k, "n": 1}

    def whole_recipe(self) -> Recipe:
        """What it takes to make all pictures: the normal form of the request."""
        return {"class" if name == "label" else name: value for name, value in vars(self).items()}

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, object], model: LatentModel) -> Self:
        fields = Fields(recipe)
        return cls(*_draw(fields, model.card), **fields.values(parameters.GENERATE, "sampler", "class_temperature", "temperature"))


@dataclass(frozen=True)
class Item:
    """One picture to decode. The class comes from exactly one of code, z_s, class_, class_weights; the style from z_u or seed."""

    code: str | None = None
    z_s: Sequence[float] | None = None
    z_u: Sequence[float] | None = None
    class_: int | str | None = None
    class_weights: Mapping[str, float] | None = None
    seed: int | None = None
    index: int = 0

    def label(self, class_names: Sequence[str]) -> int | None:
        """The class that is named; None where none is. Raises Invalid."""
        return None if self.class_ is None else latents.parse_class(str(self.class_), class_names)

    def resolve(self, model: LatentModel, field: str) -> Code | Draw:
        """Its codes, or the draw that makes it. Raises Invalid, which names parts below `field`, when they do not make one picture."""
        if sum(source is not None for source in (self.code, self.z_s, self.class_, self.class_weights)) != 1:
            raise Invalid(f"{field} needs exactly one of code, z_s, class, class_weights.", field=field)
        if self.code is not None:
            if self.z_u is not None or self.seed is not None:
                raise Invalid(f"{field}: a code holds its style; send no z_u and no seed beside it.", field=field)
            with located(f"{field}.code"):
                return Code.of_token(self.code, model.card)
        with located(f"{field}.class"):
            label = self.label(model.card.class_names)
        if label is not None and self.seed is not None and self.z_u is None:
            return Draw(label, self.seed, self.index)
        return Code(self._class_code(model, label, field), self._style_code(model, field), model.card)

    def _class_code(self, model: LatentModel, label: int | None, field: str) -> Floats:
        if self.z_s is not None:
            return _vector(self.z_s, model.card.dims.dim_s, f"{field}.z_s")
        if label is not None and self.seed is not None:
            return latents.sample_z_s(model.prior, label, self.seed, self.index)
        if label is not None:
            return latents.class_mean(model.prior, label)
        weights: dict[int, float] = {}
        with located(f"{field}.class_weights"):
            for name, weight in (self.class_weights or {}).items():
                mixed = latents.parse_class(name, model.card.class_names)
                if mixed in weights:
                    raise Invalid("The weights name a class twice; send each once.")
                weights[mixed] = weight
            return latents.mix_means(model.prior, weights)

    def _style_code(self, model: LatentModel, field: str) -> Floats:
        if self.z_u is not None:
            return _vector(self.z_u, model.card.dims.dim_u, f"{field}.z_u")
        if self.seed is None:
            raise Invalid(f"{field} needs a style: z_u or seed.", field=field)
        return latents.sample_z_u(model.prior, self.seed, self.index)


@dataclass(frozen=True)
class Draw:
    """A sample of a class, with the default temperatures."""

    label: int
    seed: int
    index: int

    def pair(self, model: LatentModel) -> Pair:
        """z_s [D_s], z_u [D_u]."""
        z_s = latents.sample_z_s(model.prior, self.label, self.seed, self.index)
        return z_s, latents.sample_z_u(model.prior, self.seed, self.index)


@dataclass(frozen=True)
class Decode(Operation):
    """One picture for each code or draw."""

    do = "decode"

    sources: tuple[Code | Draw, ...]

    @classmethod
    def of_items(cls, items: Sequence[Item], model: LatentModel) -> Self:
        """Raises Invalid, which names the item as `items.K`."""
        return cls(tuple(item.resolve(model, f"items.{k}") for k, item in enumerate(items)))

    def latents(self, model: LatentModel) -> Latents:
        return _stacked([one.pair if isinstance(one, Code) else one.pair(model) for one in self.sources])

    def recipe(self, k: int) -> Recipe:
        source = self.sources[k]
        if isinstance(source, Code):
            return {"code": source.token, "n": 1}
        return {"class": source.label, "index": source.index, "n": 1, "seed": source.seed}

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, object], model: LatentModel) -> Self:
        fields = Fields(recipe)
        return cls((_code(fields, "code", model.card) if "code" in fields else Draw(*_draw(fields, model.card)),))


@dataclass(frozen=True)
class Swap(Operation):
    """The class of each of `class_from` with the style of each of `style_from`: a matrix in reading order, classes down, styles across."""

    do = "swap"

    class_from: tuple[Code, ...]
    style_from: tuple[Code, ...]

    def latents(self, model: LatentModel) -> Latents:
        z_s, z_u = np.stack([one.z_s for one in self.class_from]), np.stack([one.z_u for one in self.style_from])
        return np.repeat(z_s, len(z_u), axis=0), np.tile(z_u, (len(z_s), 1))

    def recipe(self, k: int) -> Recipe:
        row, col = divmod(k, len(self.style_from))
        return {"class_from": self.class_from[row].token, "n": 1, "style_from": self.style_from[col].token}

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, object], model: LatentModel) -> Self:
        fields = Fields(recipe)
        return cls((_code(fields, "class_from", model.card),), (_code(fields, "style_from", model.card),))


@dataclass(frozen=True)
class Interpolate(Operation):
    """Pictures between keys. A place is the key before it, the key after it, and t from 0 (exactly the first) to 1 between them."""

    do = "interpolate"

    keys: tuple[Code, ...]
    places: tuple[tuple[int, int, float], ...]
    path: PathKind = "linear"

    @classmethod
    def evenly(cls, keys: Sequence[Code], frames: int, vary: Vary = "both", path: PathKind = "linear") -> Self:
        """`frames` >= 2 pictures, evenly from the first key to the last; what does not vary is that of the first key."""
        held = latents.hold([key.pair for key in keys], vary)
        return cls(tuple(Code(*pair, keys[0].card) for pair in held), tuple(latents.frame_places(len(keys), frames)), path)

    def latents(self, model: LatentModel) -> Latents:
        return _stacked([latents.between(self.keys[low].pair, self.keys[high].pair, t, self.path) for low, high, t in self.places])

    def recipe(self, k: int) -> Recipe:
        low, high, t = self.places[k]
        return {"from": self.keys[low].token, "n": 1, "path": self.path, "t": t, "to": self.keys[high].token}

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, object], model: LatentModel) -> Self:
        fields = Fields(recipe)
        keys = _code(fields, "from", model.card), _code(fields, "to", model.card)
        t, path = fields.values(parameters.FRAME, "t", "path").values()
        return cls(keys, ((0, 1, t),), path)


@dataclass(frozen=True)
class Steering:
    """Weights of directions of style, by their indices as text, and what tells the bundle's directions from others."""

    weights: Mapping[str, float]
    rows: Mapping[int, float]
    directions_hash: str

    @classmethod
    def of(cls, weights: Mapping[str, float], model: LatentModel) -> Steering:
        """Raises Invalid where the model has no directions, or none of an index."""
        if model.directions is None:
            raise Invalid("This model has no directions of style; leave directions out.", field="directions")
        rows = latents.direction_rows(weights, len(model.directions.effects))
        return cls(weights, rows, latents.directions_hash(model.directions.directions))


@dataclass(frozen=True)
class Edit(Operation):
    """`n` pictures from one code: its class moved towards `label`, its style mixed with samples, then moved along directions of style.

    Without `seed` the style is not mixed. With it picture k has index `index + k`.
    """

    do = "edit"

    code: Code
    label: int | None = None
    strength: float = 1.0
    steering: Steering | None = None
    n: int = 1
    seed: int | None = None
    index: int = 0
    style_spread: float = 0.0
    temperature: float = 1.0

    def latents(self, model: LatentModel) -> Latents:
        z_s = self.code.z_s
        if self.label is not None:
            z_s = latents.toward_class(model.prior, z_s, self.label, self.strength)
        return np.tile(z_s, (self.n, 1)), np.stack([self._style(model, self.index + k) for k in range(self.n)])

    def _style(self, model: LatentModel, index: int) -> Floats:
        """z_u [D_u] of one picture."""
        z_u = self.code.z_u
        if self.seed is not None:
            z_u = latents.other_style(model.prior, z_u, self.style_spread, self.seed, index, self.temperature)
        if self.steering is not None and model.directions is not None:
            z_u = latents.steer(z_u, model.directions.directions, self.steering.rows)
        return z_u

    def recipe(self, k: int) -> Recipe:
        recipe: dict[str, object] = {"code": self.code.token, "n": 1}
        if self.label is not None:
            recipe |= {"class": self.label, "strength": self.strength}
        if self.steering is not None:
            recipe |= {"directions": self.steering.weights, "directions_hash": self.steering.directions_hash}
        if self.seed is not None:
            recipe |= {"style_spread": self.style_spread, "temperature": self.temperature, **self.draw(k)}
        return recipe

    def draw(self, k: int) -> dict[str, int]:
        """Index and seed of the style of picture k; nothing where the style is not mixed."""
        return {} if self.seed is None else {"index": self.index + k, "seed": self.seed}

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, object], model: LatentModel) -> Self:
        fields = Fields(recipe)
        code = _code(fields, "code", model.card)
        options: dict[str, Any] = {}
        if "class" in fields:
            options |= {"label": _label(fields, model.card), **fields.values(parameters.EDIT, "strength")}
        if "style_spread" in fields:
            options |= fields.values(parameters.EDIT, "style_spread", "temperature")
            options |= {"seed": fields.integer("seed", MAX_SEED), "index": fields.integer("index", MAX_INDEX)}
        if "directions" in fields:
            options["steering"] = Steering.of(fields.weights("directions", parameters.WEIGHT), model)
        return cls(code, **options)


@dataclass(frozen=True, eq=False)
class Inpaint(Operation):
    """A picture whose `hole` [H, W] is the code decoded. What is around the hole, the picture itself holds.

    The code is that of the last round of `inpainting.Filling`, which the caller goes through.
    """

    do = "inpaint"

    code: Code
    hole: Hole

    def latents(self, model: LatentModel) -> Latents:
        return self.code.z_s[None], self.code.z_u[None]

    def recipe(self, k: int) -> Recipe:
        return {"code": self.code.token, "hole": inpainting.pack_hole(self.hole), "n": 1}

    def decoded_region(self, dims: Dims) -> Hole:
        return self.hole

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, object], model: LatentModel) -> Self:
        fields, dims = Fields(recipe), model.card.dims
        code = _code(fields, "code", model.card)
        return cls(code, inpainting.unpack_hole(fields.text("hole", "a text"), dims.height, dims.width))


def all_latents(operations: Sequence[Operation], model: LatentModel) -> Latents:
    """z_s [n, D_s] and z_u [n, D_u] of the pictures of all operations, in order."""
    rows = [operation.latents(model) for operation in operations]
    return np.concatenate([z_s for z_s, _ in rows]), np.concatenate([z_u for _, z_u in rows])


@contextmanager
def located(field: str) -> Iterator[None]:
    """Names `field` in an Invalid raised by code that does not know where its input stood in the request."""
    try:
        yield
    except Invalid as error:
        raise Invalid(error.detail, field=field, allowed=error.allowed) from None


def _vector(values: Sequence[float], length: int, field: str) -> Floats:
    if len(values) != length:
        raise Invalid(f"{field} must hold {length} numbers.", field=field, allowed=f"{length} numbers")
    return np.asarray(values, np.float32)


def _code(fields: Fields, name: str, card: Card) -> Code:
    return Code.of_token(fields.text(name, "a code token"), card)


def _label(fields: Fields, card: Card) -> int:
    return fields.integer("class", card.dims.classes - 1)


def _draw(fields: Fields, card: Card) -> tuple[int, int, int]:
    """Class index, seed and index."""
    return _label(fields, card), fields.integer("seed", MAX_SEED), fields.integer("index", MAX_INDEX)
