"""The table of losses, from the registry that training uses."""

from __future__ import annotations


def part() -> str:
    """Markdown: one row per loss with its formula, its reduction, what it needs, what it tells, and its source."""
    from twofold.training.trainer.objectives import OBJECTIVES

    rows = [
        f"| `{name}` | {one.formula} | {one.reduction} | {_needs(one.needs)} | {one.words} | {one.source} |"
        for name, one in OBJECTIVES.items()
    ]
    return "\n".join(["| name | formula | reduction | needs | what it tells | from |", "|---|---|---|---|---|---|", *rows])


def _needs(needs: frozenset[str]) -> str:
    """What a loss needs of a forward pass, as the words above the table have it."""
    from twofold.training.trainer import forward

    words = {
        forward.Z_S: "E_s",
        forward.STYLE: "E_u",
        "rec": "rec",
        "swap": "swap",
        "smp": "smp",
        forward.CYCLE: "swap or smp, read again",
        forward.RETURNED: "the way back",
        forward.FLOW: "E_s, E_u, flow",
        forward.D_SCORES: "D",
        forward.G_SCORES: "D",
    }
    return ", ".join(word for need, word in words.items() if need in needs)
