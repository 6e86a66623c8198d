"""A bundle in this process needs no training library and no web framework; a client of a server needs no engine and no pydantic."""

import subprocess
import sys

import pytest

TRAINING = ("torch", "onnx", "onnxscript", "datasets", "sklearn")
WEB = ("fastapi", "starlette", "uvicorn")
MEASURE = "from twofold.service.client import Local; from pathlib import Path; Local(Path(sys.argv[1])).arrays.generate(0)"

PROGRAM = """
import sys
blocked = {blocked!r}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
{does}
print(sorted(set(blocked) & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("does", "blocked"),
    [
        ("import twofold.service.runtime.array_api, twofold.service.runtime.registry", (*TRAINING, *WEB, "httpx")),
        (MEASURE, (*TRAINING, *WEB)),
        ("import twofold.service.client", (*TRAINING, *WEB, "onnxruntime", "pydantic")),
    ],
    ids=["bundles", "arrays", "client"],
)
def test_it_works_where_what_it_does_not_need_is_blocked(toy_bundle, does, blocked):
    program = PROGRAM.format(does=does, blocked=blocked)
    found = subprocess.run([sys.executable, "-c", program, toy_bundle], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout == "[]\n"
