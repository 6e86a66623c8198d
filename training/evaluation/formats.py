"""Files that outlive the command that wrote them: dataclasses to JSON and back. An unusable file is one sentence.

Knows `evaluation.json`; other modules keep their own dataclasses and use `read` and `write`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ConfigDict, TypeAdapter

from twofold.training.data.dataset import DataError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Stored = TypeVar("Stored", bound=DataclassInstance)

STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class BundleId:
    """The bundle that was measured."""

    name: str
    model_hash: str


@dataclass(frozen=True)
class EvaluatedData:
    """The data set by name; `fit` and `held` are `Pictures.source` of what probes learned from and of what was measured."""

    name: str
    fit: Mapping[str, Any]
    held: Mapping[str, Any]


@dataclass(frozen=True)
class RowCounts:
    """Pictures that probes learned from, that were measured, that were swapped (pairs) and that were generated."""

    fit: int
    held: int
    pairs: int
    generated: int


@dataclass(frozen=True)
class ClassifierId:
    """The evaluation classifier, and its accuracy (0..1) on the measured pictures."""

    hash: str
    accuracy: float


@dataclass(frozen=True)
class Verdict:
    """What a model is good for, by its figures: see `training.evaluation.verdict`."""

    usable: bool
    text: str  # "Usable for ..." or "Not usable, because ...", with the amounts and what mends it
    failed: list[str]  # measures that missed what is asked of them, the gravest first


@dataclass(frozen=True)
class Evaluation:
    """evaluation.json: what `twofold-train evaluate` measured on one bundle."""

    __pydantic_config__ = STRICT

    bundle: BundleId
    data: EvaluatedData
    split: str
    quick: bool  # on a sample of the rows: for tests, not for figures
    seed: int
    rows: RowCounts
    eval_classifier: ClassifierId
    values: Mapping[str, float]  # by `Measure.key`, with what they are compared with
    predictors: Mapping[str, Mapping[str, float]]  # trivial predictors of a swap by name, each with some of the model's measures
    verdict: Verdict
    bytes: Mapping[str, int]  # of every file of the bundle, with "total"
    seconds: Mapping[str, float]  # of every stage of the measurement, with "total"

    @classmethod
    def read(cls, path: Path) -> Evaluation:
        """Raises DataError when the file is missing or is no evaluation."""
        return read(cls, path, "what evaluate writes")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def read(kind: type[Stored], path: Path, what: str) -> Stored:
    """A dataclass from its JSON file. Raises DataError ("NAME is not WHAT") for a missing file, no JSON, missing or unknown keys."""
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} is not {what}") from error


def write(path: Path, value: DataclassInstance) -> None:
    """A dataclass to its JSON file, whole or not at all; the folder is made. Raises ValueError for a number that JSON has not (NaN)."""
    write_text(path, json.dumps(asdict(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write beside `path` and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
