"""The progress line, on a real terminal and away from one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios

from twofold.training.trainer.console import ProgressLine, render

FIGURES = {
    "stage": "codes",
    "stage_number": 2,
    "stages": 4,
    "step": 30,
    "steps": 169,
    "images_per_s": 988.6,
    "eta_s": 125,
    "loss_recon_sse": 26.4321,
    "loss_kl_sum": 15.2,
    "class_accuracy": 0.865,
    "leak": 0.54,
    "style_moved": 0.6461,
}


def at(step):
    return {**FIGURES, "step": step}


def test_the_line_says_stage_step_rate_time_losses_and_the_last_look():
    line = "[2/4 codes] 30/169 | 989 img/s | 2:05 left | recon_sse 26.4 kl_sum 15.2 | accuracy 0.865 leak 0.540 style moved 0.646"
    assert render(FIGURES) == line


def test_before_the_first_look_the_line_ends_with_the_losses():
    figures = {key: value for key, value in FIGURES.items() if key not in ("class_accuracy", "leak", "style_moved")}
    assert render(figures).endswith("| recon_sse 26.4 kl_sum 15.2")


def test_away_from_a_terminal_there_are_plain_lines_and_few_of_them(capsys):
    line = ProgressLine(plain_every_s=3600)
    for step in (1, 2, 3, 169):
        line(at(step))
    line.end()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"{render(at(1))}\n{render(at(169))}\n"


def on_a_terminal(*calls):
    """All that is written to a terminal of 60 columns: a dict is reported, None ends the line."""
    outer, inner = os.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with os.fdopen(inner, "w", encoding="utf-8") as stream, contextlib.redirect_stderr(stream):
        line = ProgressLine()
        for figures in calls:
            line.end() if figures is None else line(figures)
    parts = []
    with contextlib.suppress(OSError):  # how a terminal that was hung up ends
        while part := os.read(outer, 4096):
            parts.append(part)
    os.close(outer)
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_on_a_terminal_one_line_is_written_over_and_never_wraps():
    other = {**at(101), "stage": "flow"}
    assert on_a_terminal(at(100), other) == "\r" + render(at(100))[:59] + "\r" + render(other)[:59]


def test_on_a_terminal_a_shorter_line_leaves_nothing_of_the_longer_one():
    short = {key: FIGURES[key] for key in ("stage", "stage_number", "stages", "step", "steps", "images_per_s", "eta_s")}
    last = on_a_terminal(FIGURES, short).split("\r")[2]
    assert last.rstrip() == render(short)
    assert len(last) == 59


def test_on_a_terminal_the_last_step_and_the_end_close_the_line_once():
    written = on_a_terminal(at(169), None, at(3), None, None)
    assert written == "\r" + render(at(169))[:59] + "\n\r" + render(at(3))[:59] + "\n"
