"""A bundle on a hub: found in the cache, verified like a folder, and refused with one line that says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.serving import serving
from twofold.model import contract
from twofold.service.runtime.hub import HubError, fetch, is_on_hub

ROOT = Path(__file__).parents[4]
COMMIT = "0123456789" * 4
NOBODY = "http://127.0.0.1:9"  # the discard port: a connection is refused


@pytest.fixture
def cache(toy_bundle, tmp_path):
    """The layout that huggingface_hub leaves behind: blobs, a snapshot of links to them, and the commit of a branch."""
    home = tmp_path / "cache" / "models--somebody--toy"
    snapshot = home / "snapshots" / COMMIT
    (home / "blobs").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    contents = {path.relative_to(toy_bundle).as_posix(): path.read_bytes() for path in toy_bundle.rglob("*") if path.is_file()}
    for order, (name, content) in enumerate({**contents, ".gitattributes": b"*.onnx filter=lfs\n"}.items()):
        blob, link = home / "blobs" / f"{order:040x}", snapshot / name
        blob.write_bytes(content)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return tmp_path / "cache"


def said(bundle, cache, offline, program=("-m", "twofold"), **variables):
    """The one line with which `twofold serve` refuses to start."""
    environ = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": offline, "HF_ENDPOINT": NOBODY, **variables}
    command = [sys.executable, *program, "serve", "--port", "0", "--bundle", bundle]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    return done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("name", "offline"), [("hf:somebody/toy", "1"), ("hf:somebody/toy", "0"), (f"hf:somebody/toy@{COMMIT}", "1")])
def test_a_bundle_in_the_cache_is_served_without_a_network(cache, toy_bundle, monkeypatch, name, offline):
    for variable, value in {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": offline, "HF_ENDPOINT": NOBODY}.items():
        monkeypatch.setenv(variable, value)
    with serving(Path(name)) as server:
        answer = httpx.get(f"{server.url}/generate?class=0&seed=1", timeout=30)
        assert answer.status_code == 200
        assert answer.headers["x-model"] == contract.read_card(toy_bundle).id


@pytest.mark.parametrize(
    ("bundle", "offline", "line"),
    [
        ("hf:somebody/else", "1", "it is not in the cache, and HF_HUB_OFFLINE is set"),
        ("hf:somebody/else", "0", "it is not in the cache, and the hub cannot be reached"),
        ("hf:somebody/toy@v2", "1", "it is not in the cache, and HF_HUB_OFFLINE is set"),
        ("hf:toy", "1", "write it as hf:USER/NAME or hf:USER/NAME@REVISION"),
    ],
)
def test_what_cannot_be_fetched_is_reported_in_one_line(cache, bundle, offline, line):
    assert said(bundle, cache, offline) == f"twofold: bundle {bundle}: {line}\n"


def test_a_damaged_cache_is_found_out_as_a_damaged_folder_is(cache):
    decoder = cache / "models--somebody--toy" / "snapshots" / COMMIT / contract.DECODER
    content = bytearray(decoder.read_bytes())
    content[len(content) // 2] ^= 1
    decoder.write_bytes(content)
    assert (
        said("hf:somebody/toy", cache, "1") == "twofold: bundle hf:somebody/toy: decoder.onnx: its SHA-256 is not the one in SHA256SUMS\n"
    )
    decoder.unlink()
    assert said("hf:somebody/toy", cache, "1") == "twofold: bundle hf:somebody/toy: decoder.onnx: missing\n"


def test_without_the_extra_it_says_what_to_install(cache):
    program = "import sys; sys.modules['huggingface_hub'] = None; from twofold.service.cli.main import main; sys.exit(main(sys.argv[1:]))"
    line = said("hf:somebody/toy", cache, "1", program=("-c", program))
    assert line == "twofold: bundle hf:somebody/toy: this needs huggingface_hub: pip install 'twofold[hub]'\n"


@pytest.mark.parametrize("name", ["hf:", "hf:/", "hf:a", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b@", "hf:a/b@../../x", "hf:a b/c"])
def test_a_malformed_name_is_refused_before_the_library_is_loaded(name):
    with pytest.raises(HubError, match="write it as"):
        fetch(Path(name))


def test_a_folder_is_a_folder_whatever_it_is_called(toy_bundle, tmp_path):
    assert is_on_hub(Path("hf:somebody/toy"))
    place = shutil.copytree(toy_bundle, tmp_path / "hf:toy")
    assert not is_on_hub(place)
