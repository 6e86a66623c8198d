"""report.json: the figures of a report, and those behind its charts. Knows no page and no picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twofold.model.contract import Dims
from twofold.training.evaluation.formats import STRICT, Evaluation, read
from twofold.training.evaluation.metric_table import Line


@dataclass(frozen=True)
class ModelFacts:
    """What a report says of one model: its card, its evaluation, and the figures behind the charts."""

    id: str
    name: str
    model_hash: str
    class_names: Sequence[str]
    dims: Dims
    precision: str
    data: Mapping[str, Any]
    training: Mapping[str, Any]
    revision: str
    evaluation: Evaluation
    machine: Mapping[str, object]
    confusion: Sequence[Sequence[int]]  # [K, K], real class by class read
    samples_kept: float  # shares (0..1) of the pictures shown that the evaluation classifier gives the asked class
    swap_matrix_kept: float
    lost_swaps: float  # share of random swaps with another class


@dataclass(frozen=True)
class MeasureFigures:
    """One measure; `values` and `met` have an entry per model, `baselines` one per baseline."""

    key: str
    title: str
    definition: str
    values: Sequence[float | None]
    met: Sequence[bool | None]  # the threshold
    threshold: str | None
    target: str | None
    real: float | None
    baselines: Sequence[float | None]

    @classmethod
    def of(cls, line: Line, models: int) -> MeasureFigures:
        """A line of the table, whose first values are those of the models."""
        values = line.values[:models]
        return cls(
            key=line.measure.key,
            title=line.measure.name,
            definition=line.measure.definition,
            values=values,
            met=[None if line.threshold is None or value is None else line.threshold.holds(value) for value in values],
            threshold=str(line.threshold) if line.threshold else None,
            target=str(line.target) if line.target else None,
            real=line.real,
            baselines=line.values[models:],
        )


@dataclass(frozen=True)
class Report:
    """The whole file."""

    __pydantic_config__ = STRICT

    models: Sequence[ModelFacts]
    measures: Sequence[MeasureFigures]
    baselines: Sequence[Evaluation]

    @classmethod
    def read(cls, path: Path) -> Report:
        """Raises DataError when the file is missing or is no report."""
        return read(cls, path, "what report writes")
