"""What answers become in Python: classes, verdicts, encodings, inspections, models.

An encoding keeps the `entry` it was made of, which is what the answer's JSON says, so that no member a newer server adds is lost. It does
not know how an answer came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar, overload

import numpy as np

from twofold.model.contract import Floats

Entry = Mapping[str, Any]
One = TypeVar("One")
Kind = TypeVar("Kind")


def from_entry(kind: type[Kind], entry: Entry) -> Kind:
    """A dataclass of the fields of `entry` that it has."""
    return kind(**{field.name: entry[field.name] for field in fields(kind) if field.name in entry})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Class:
    """A class of a model. `prob` where it was read in a picture, `weight` (share of the training pictures) where it was listed."""

    index: int
    name: str
    prob: float | None = None
    weight: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The class that a result shows, whether that is the class it was made of, and the network that said so.

    `by` is "evaluation classifier", which shares nothing with the model, where the bundle has one; else "encoder".
    """

    class_: Class
    kept: bool
    by: str = "encoder"


class Listed(Sequence[One], Generic[One]):
    """A list that cannot be changed, with what an answer says of all of them."""

    def __init__(self, items: Sequence[One], model: str, notes: Any = None, timings_ms: Mapping[str, float] | None = None) -> None:
        self._items = tuple(items)
        self.model = model  # name@hash
        self.notes = notes  # what was done to the pictures that were sent
        self.timings_ms = dict(timings_ms or {})  # summed over the requests it took

    @overload
    def __getitem__(self, at: int) -> One: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[One]: ...
    def __getitem__(self, at: int | slice) -> One | Sequence[One]:
        return self._items[at]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} of {self.model})"


class Encoding:
    """What the model says of one picture. z_s is the class code [D_s], z_u the style code [D_u] (the mean of its posterior)."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.z_s: Floats = np.asarray(entry["z_s"], np.float32)
        self.z_u: Floats = np.asarray(entry["z_u"], np.float32)
        self.z_u_log_var: Floats = np.asarray(entry["z_u_log_var"], np.float32)
        self.class_ = from_entry(Class, entry["class"])
        self.class_probs: list[float] = entry["class_probs"]
        self.log_density: float = entry["log_density"]
        self.typicality: float | None = entry["typicality"]
        self.code: str = entry["code"]
        self.notes: list[str] = entry["notes"]

    def __repr__(self) -> str:
        return f"Encoding({self.class_.name!r}, prob={self.class_.prob:.3f})"


class Encodings(Listed[Encoding]):
    """Encodings in the order of the pictures."""


@dataclass(frozen=True)
class Inspection:
    """The recipe a picture carries (None: it has none) and, where that was asked, whether it holds. `max_difference` in grey levels."""

    recipe: dict[str, Any] | None
    verified: bool | None
    max_difference: int | None
    notes: list[str]


@dataclass(frozen=True)
class ModelInfo:
    """A model that is served. `id` is its name and the begin of its hash; `dims` are its lengths and sides."""

    id: str
    name: str
    model_hash: str
    dims: dict[str, int]
    precision: str
    provider: str
    default: bool
