"""What serves or measures a bundle in process loads no training library and no web framework."""

import subprocess
import sys

BLOCKED = ("torch", "onnx", "onnxscript", "fastapi", "starlette", "uvicorn", "httpx", "datasets", "sklearn")

PROGRAM = f"""
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Wall())
import service.client, service.bundles
print(service.client.Local.__name__, sorted(set({BLOCKED!r}) & set(sys.modules)))
"""


def test_the_client_and_the_bundles_import_with_torch_onnx_and_fastapi_blocked():
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout == "Local []\n"
