"""Progress on stderr: a bar on a terminal, a plain line now and then elsewhere. Knows no trainer, only the dict that it reports."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

FIGURES = {"class_accuracy": "accuracy", "leak": "leak", "style_moved": "style moved"}  # of the last validation, as they are shown


class ProgressLine:
    """Shows the figures of a step: a tqdm bar for each stage on a terminal, elsewhere a line every `plain_every_s` seconds."""

    def __init__(self, plain_every_s: float = 15.0) -> None:
        self.terminal = sys.stderr.isatty()
        self.plain_every_s = plain_every_s
        self.shown = -plain_every_s  # when the last plain line was printed
        self.bar: tqdm[None] | None = None

    def __call__(self, figures: dict[str, Any]) -> None:
        """Show the figures of a step, as the trainer reports them."""
        last = figures["step"] == figures["steps"]
        if self.terminal:
            self._draw(figures)
            if last:
                self.close()
        elif last or time.monotonic() - self.shown >= self.plain_every_s:
            self.shown = time.monotonic()
            print(render(figures), file=sys.stderr, flush=True)

    def _draw(self, figures: dict[str, Any]) -> None:
        if self.bar is None:
            shape = "{desc} {n_fmt}/{total_fmt} {bar:12} {postfix}"
            self.bar = tqdm(total=figures["steps"], desc=stage(figures), file=sys.stderr, dynamic_ncols=True, bar_format=shape)
        self.bar.n = figures["step"]
        self.bar.set_postfix_str(measured(figures))

    def warn(self, text: str) -> None:
        """Print a warning; the bar goes on below it."""
        tqdm.write(f"warning: {text}", file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands; what is printed next begins below it."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def render(figures: dict[str, Any]) -> str:
    """The plain line: stage, step, rate, time left, losses, and the last validation."""
    return f"{stage(figures)} {figures['step']}/{figures['steps']} | {measured(figures)}"


def stage(figures: dict[str, Any]) -> str:
    """Number and name of the stage."""
    return f"[{figures['stage_number']}/{figures['stages']} {figures['stage']}]"


def measured(figures: dict[str, Any]) -> str:
    """Rate, time left, losses, and the last validation."""
    minutes, seconds = divmod(int(figures["eta_s"]), 60)
    losses = " ".join(f"{k.removeprefix('loss_')} {v:.3g}" for k, v in figures.items() if k.startswith("loss_"))
    seen = " ".join(f"{title} {figures[key]:.3f}" for key, title in FIGURES.items() if key in figures)
    return " | ".join(filter(None, (f"{figures['images_per_s']:.0f} img/s", f"{minutes}:{seconds:02d} left", losses, seen)))
