"""onnxruntime's telemetry, on by default in its wheels, stays off: it leaves a device id in the home folder when it is on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toy import make_bundle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SILENCERS = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS"}
SERVE = "import sys; from pathlib import Path; from twofold.service.client import Local; Local(Path(sys.argv[1]))"
TRAIN = """import sys, twofold.training.export.bundle, onnxruntime
onnxruntime.InferenceSession(sys.argv[1] + "/decoder.onnx", providers=["CPUExecutionProvider"])"""


@pytest.mark.parametrize("script", [SERVE, TRAIN], ids=["service", "training"])
def test_running_a_graph_leaves_no_trace_in_the_home_folder(tmp_path, script):
    bundle, home = make_bundle(tmp_path / "toy"), tmp_path / "home"
    home.mkdir()
    environ = {name: value for name, value in os.environ.items() if name not in SILENCERS and not name.startswith("XDG_")}
    command = [sys.executable, "-c", script, bundle]
    result = subprocess.run(command, cwd=ROOT, env=environ | {"HOME": str(home)}, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    assert [path for path in home.rglob("*") if "onnxruntime" in str(path)] == []
