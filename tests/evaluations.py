"""Evaluations with made-up figures, where a test needs the file and not the measurement."""

from __future__ import annotations

from collections.abc import Mapping

from twofold.training.evaluation.formats import BundleId, ClassifierId, EvaluatedData, Evaluation, RowCounts, Verdict


def evaluation(
    values: Mapping[str, float],
    name: str = "toy",
    model_hash: str = "0" * 64,
    data: str = "drawn",
    classifier_hash: str = "ab" * 32,
    accuracy: float = 0.75,
) -> Evaluation:
    """A whole evaluation of a bundle on the test split."""
    return Evaluation(
        bundle=BundleId(name, model_hash),
        data=EvaluatedData(data, {}, {}),
        split="test",
        quick=False,
        seed=3,
        rows=RowCounts(fit=400, held=400, pairs=400, generated=400),
        eval_classifier=ClassifierId(classifier_hash, accuracy),
        values=values,
        predictors={},
        verdict=Verdict(True, "Usable for swaps.", []),
        bytes={"total": 1},
        seconds={"total": 3.0},
    )
