"""From pictures to a server, once per session, each step by the real command in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import serving

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "data" / "fashion-sample"


def twofold_train(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `twofold-train` to its end; it must succeed."""
    command = [sys.executable, "-m", "twofold.training", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="session")
def trained(home):
    """What the training of tiny.toml said; the run is home/run."""
    options = ("--data", SAMPLE, "--out", home / "run", "--threads", 1, "--device", "cpu")
    return twofold_train("train", "training/config/presets/tiny.toml", *options)


@pytest.fixture(scope="session")
def unmeasured(trained, home):
    """The exported bundle, home/bundle."""
    done = twofold_train("export", home / "run", "--data", SAMPLE, "--out", home / "bundle", "--no-eval-classifier")
    assert done.stdout == f"{home / 'bundle'}\n"
    return home / "bundle"


@pytest.fixture(scope="session")
def measured(unmeasured, home):
    """The table that a whole evaluation of it printed, its figures recorded in the bundle. The evaluation classifier is a small one."""
    from twofold.training.evaluation.eval_classifier import EvalClassifierConfig, train_eval_classifier

    train_eval_classifier(
        SAMPLE, home / "eval_classifier", EvalClassifierConfig(widths=(8, 16, 16), epochs=3, batch=32), log=lambda line: None
    )
    return twofold_train("evaluate", unmeasured, "--data", SAMPLE, "--eval-classifier", home / "eval_classifier", "--record").stdout


@pytest.fixture(scope="session")
def bundle(unmeasured, measured):
    """The bundle with its figures, which the service holds it to."""
    return unmeasured


@pytest.fixture(scope="session")
def server(bundle):
    with serving(bundle) as running:
        yield running
