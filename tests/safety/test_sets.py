"""kill -9, Ctrl-C and a full disk at any moment of a data set's making: nothing half-written, and the same command ends with the
same bytes. KILLS says how often (default 4); the moments are drawn from a fixed seed.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests.sets import ROOT, command, contents, environ, twofold
from twofold.service.cli import main

KILLS = int(os.environ.get("KILLS", "4"))
PER_CLASS = 1000
LONGEST_WAIT_S = 0.1  # after the first file of a run: into any of the next, or into the joining of a table
OUTS = ("set", "set.parquet")


@contextmanager
def files_end_at(size_bytes: int) -> Iterator[None]:
    """A disk that is full after so many bytes of any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def running(toy_bundle: Path, out: Path) -> Iterator[subprocess.Popen[str]]:
    asked = command("synthesize", "--per-class", PER_CLASS, "--bundle", toy_bundle, "--out", out)
    with subprocess.Popen(asked, cwd=ROOT, env=environ(), stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def written(out: Path) -> int:
    """How many files of a set there are by now, finished or not."""
    return sum(len(files) for place in (out, out.with_name(f".{out.name}.spool")) for _, _, files in os.walk(place))


def wait_until_it_writes(process: subprocess.Popen[str], out: Path, before: int) -> None:
    while written(out) <= before and process.poll() is None:
        time.sleep(0.001)


def half_written(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.endswith(".part")]


@pytest.fixture(scope="module", params=OUTS)
def unbroken(request, toy_bundle, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / request.param
    assert twofold("synthesize", "--per-class", PER_CLASS, "--bundle", toy_bundle, "--out", out).returncode == 0
    return out


@pytest.mark.slow
def test_a_set_that_is_killed_again_and_again_ends_with_the_same_bytes(unbroken, toy_bundle, tmp_path):
    out, rng, kills, progress = tmp_path / unbroken.name, random.Random(20190616), 0, []
    for _ in range(10 * KILLS):
        before = written(out)
        with running(toy_bundle, out) as process:
            wait_until_it_writes(process, out, before)
            time.sleep(rng.uniform(0, LONGEST_WAIT_S))
            process.send_signal(signal.SIGKILL)
        progress.append(written(out) > before)
        kills += process.returncode == -signal.SIGKILL
        for picture in out.rglob("*.png"):
            Image.open(picture).load()
        if kills == KILLS:
            break
    assert kills == 0 or any(progress)
    done = twofold("synthesize", "--per-class", PER_CLASS, "--bundle", toy_bundle, "--out", out)
    assert done.returncode == 0, done.stderr
    assert contents(out) == contents(unbroken)
    assert not half_written(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [unbroken.name]


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_the_same_command_continues_the_set(unbroken, toy_bundle, tmp_path):
    out = tmp_path / unbroken.name
    with running(toy_bundle, out) as process:
        wait_until_it_writes(process, out, before=1)
        process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert printed.splitlines()[-1] == f"twofold: interrupted; the same command goes on in {out}"
    assert "Traceback" not in printed
    assert not half_written(tmp_path)
    assert twofold("synthesize", "--per-class", PER_CLASS, "--bundle", toy_bundle, "--out", out).returncode == 0
    assert contents(out) == contents(unbroken)


@pytest.mark.parametrize("out", OUTS)
def test_a_full_disk_leaves_nothing_half_written_and_the_set_can_be_finished(toy_bundle, tmp_path, capsys, out):
    asked = ["synthesize", "--per-class", "80", "--bundle", str(toy_bundle), "--out"]
    assert main.main([*asked, str(tmp_path / "whole" / out)]) == 0
    place = tmp_path / "cut" / out
    for size_bytes in (0, 100, 300, 450, 2_000, 30_000, 120_000, 150_000):
        before = contents(place) if place.exists() else {}
        capsys.readouterr()
        with files_end_at(size_bytes):
            code = main.main([*asked, str(place)])
        printed = capsys.readouterr().err
        assert code in (0, 1), printed
        assert code == 0 or "the disk is full; make room" in printed
        assert not half_written(tmp_path)
        after = contents(place) if place.exists() else {}
        assert before.items() <= after.items()
        for picture in place.rglob("*.png"):
            Image.open(picture).load()
    assert main.main([*asked, str(place)]) == 0
    assert contents(place) == contents(tmp_path / "whole" / out)
    assert [path.name for path in place.parent.iterdir()] == [out]
