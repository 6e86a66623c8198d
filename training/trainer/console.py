"""The progress line: figures of a step as one line for people, on stderr. Knows no trainer, only the dict that it reports."""

from __future__ import annotations

import os
import sys
import time
from typing import Any


class ProgressLine:
    """On stderr: one line that is written over on a terminal, a plain line every `plain_every_s` elsewhere."""

    def __init__(self, plain_every_s: float = 15.0) -> None:
        self.terminal = sys.stderr.isatty()
        self.plain_every_s = plain_every_s
        self.shown = -plain_every_s
        self.width = 0  # of the line that the next one is written over

    def __call__(self, figures: dict[str, Any]) -> None:
        last = figures["step"] == figures["steps"]
        if not self.terminal and not last and time.monotonic() - self.shown < self.plain_every_s:
            return
        self.shown = time.monotonic()
        line = render(figures)
        if self.terminal:
            line = line[: (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1]  # a line that wraps cannot be written over
            print("\r" + line.ljust(self.width), end="", file=sys.stderr, flush=True)
            self.width = len(line)
            if last:
                self.end()
        else:
            print(line, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Say a sentence below the line, which goes on below it."""
        self.end()
        print(f"warning: {text}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line as it stands; what is said next begins below it."""
        if self.width:
            print(file=sys.stderr, flush=True)
            self.width = 0


def render(figures: dict[str, Any]) -> str:
    """The progress line: stage, step, rate, time left, losses, and the last look at the validation pictures."""
    minutes, seconds = divmod(int(figures["eta_s"]), 60)
    losses = " ".join(f"{k.removeprefix('loss_')} {v:.3g}" for k, v in figures.items() if k.startswith("loss_"))
    looks = {"class_accuracy": "accuracy", "leak": "leak", "style_moved": "style moved"}
    seen = " ".join(f"{title} {figures[key]:.3f}" for key, title in looks.items() if key in figures)
    head = f"[{figures['stage_number']}/{figures['stages']} {figures['stage']}] {figures['step']}/{figures['steps']}"
    return " | ".join(filter(None, (head, f"{figures['images_per_s']:.0f} img/s", f"{minutes}:{seconds:02d} left", losses, seen)))
