"""kill -9 at random moments: a training run that is taken up again ends with the same bits as one that was never broken.

KILLS says how often (`make kill-test`: 20); the moments are drawn from a fixed seed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.trainee import learned

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("KILLS", "4"))
LONGEST_WAIT_S = 0.06  # after the chosen line: into the next step, or the save, or the end of a stage


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.trainee", str(folder), *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def finish(folder: Path, *options: str) -> list[str]:
    with start(folder, *options) as process:
        lines = process.communicate(timeout=120)[0].splitlines()
    assert process.returncode == 0
    return lines


def kill_after(folder: Path, lines: int, wait_s: float, *options: str) -> bool:
    """Start, read so many lines, wait, kill -9. False when the run was over before."""
    with start(folder, *options) as process:
        assert process.stdout is not None
        for _ in range(lines):
            if not process.stdout.readline():
                break
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        process.stdout.read()
    return process.returncode == -signal.SIGKILL


def logged(folder: Path) -> list[dict]:
    """What a run has logged, without what depends on the clock."""
    clock = {"time", "images_per_s", "eta_s", "class_accuracy", "leak", "style_moved", "psnr_db", "variety", "warnings"}
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in clock} for line in lines]


def shown(folder: Path) -> dict[str, bytes]:
    """The sheets and the film of a run."""
    return {file.name: file.read_bytes() for file in (*(folder / "validation").iterdir(), folder / "film.webp")}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    finish(folder, "--epochs=2")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("save_every_s", [0.0, 0.15])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(unbroken, tmp_path, save_every_s):
    options, rng, kills, folders = ("--epochs=2", f"--save-every-s={save_every_s}"), random.Random(20190616), 0, [tmp_path / "0"]
    while kills < KILLS // 2:
        if kill_after(folders[-1], rng.randrange(0, 14), rng.uniform(0, LONGEST_WAIT_S), *options):
            kills += 1
        else:  # it came to its end alive: on with the next
            folders.append(tmp_path / str(len(folders)))
    finish(folders[-1], *options)
    for folder in folders:
        assert learned(folder) == learned(unbroken)
        assert learned(folder, "best.pt") == learned(unbroken, "best.pt")
        assert logged(folder) == logged(unbroken)
        assert shown(folder) == shown(unbroken)
        assert not list(folder.glob("*.part"))
