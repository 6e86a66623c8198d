"""The tables of the measures and of the rows of the ablations."""

from __future__ import annotations


def measures_part() -> str:
    """Markdown: one row per line of the table of `twofold-train evaluate`, with its definition."""
    from twofold.training.evaluation.metric_table import MEASURES

    return _table("line", "definition", [(measure.name, measure.definition) for measure in MEASURES])


def ablations_part() -> str:
    """Markdown: one row per variant that `twofold-train reproduce` trains."""
    from twofold.training.experiments.ablation_plan import read_plan

    return _table("row", "what it is", [(variant.name, variant.note) for variant in read_plan().variant])


def _table(first: str, second: str, rows: list[tuple[str, str]]) -> str:
    return "\n".join([f"| {first} | {second} |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)])
