"""Progress on a real terminal and away from one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
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


def test_the_line_has_stage_step_rate_time_losses_and_the_last_validation():
    line = "[2/4 codes] 30/169 | 989 img/s | 2:05 left | recon_sse 26.4 kl_sum 15.2 | accuracy 0.865 leak 0.540 style moved 0.646"
    assert render(FIGURES) == line


def test_before_the_first_validation_the_line_ends_with_the_losses():
    figures = {key: value for key, value in FIGURES.items() if key not in ("class_accuracy", "leak", "style_moved")}
    assert render(figures).endswith("| recon_sse 26.4 kl_sum 15.2")


def test_away_from_a_terminal_there_are_plain_lines_and_few_of_them(capsys):
    line = ProgressLine(plain_every_s=3600)
    for step in (1, 2, 3, 169):
        line(at(step))
    line.close()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"{render(at(1))}\n{render(at(169))}\n"


def on_a_terminal(*calls):
    """All that is written to a terminal of 100 columns: a dict is reported, a text is a warning, None ends the bar."""
    outer, inner = os.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with os.fdopen(inner, "w", encoding="utf-8") as stream, contextlib.redirect_stderr(stream):
        line = ProgressLine()
        for call in calls:
            line.close() if call is None else line.warn(call) if isinstance(call, str) else line(call)
    parts = []
    with contextlib.suppress(OSError):  # how a terminal ends whose other side is closed
        while part := os.read(outer, 4096):
            parts.append(part)
    os.close(outer)
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_on_a_terminal_a_bar_with_the_figures_is_written_over():
    *_, before, last = on_a_terminal(at(100), at(101)).split("\r")
    assert before.startswith("[2/4 codes] 100/169 ")
    assert last.startswith("[2/4 codes] 101/169 ")
    assert "989 img/s | 2:05 left | recon_sse 26.4" in last


def test_on_a_terminal_the_bar_never_wraps():
    assert max(len(line) for line in re.split(r"[\r\n]", on_a_terminal(at(100), at(169)))) <= 100


def test_on_a_terminal_every_stage_has_a_bar_of_its_own():
    written = on_a_terminal(at(169), {**at(1), "stage_number": 3, "stage": "flow", "steps": 20}, None, None)
    first, second, rest = written.split("\n")
    assert first.split("\r")[-1].startswith("[2/4 codes] 169/169 ")
    assert second.split("\r")[-1].startswith("[3/4 flow] 1/20 ")
    assert rest == ""


def test_on_a_terminal_a_warning_stands_on_a_line_of_its_own():
    written = on_a_terminal(at(100), "samples are all alike", at(101))
    assert "warning: samples are all alike\n" in re.split(r"\r", written)
    assert written.split("\r")[-1].startswith("[2/4 codes] 101/169 ")


def test_away_from_a_terminal_a_warning_is_a_plain_line(capsys):
    ProgressLine().warn("samples are all alike")
    assert capsys.readouterr().err == "warning: samples are all alike\n"
