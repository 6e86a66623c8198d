"""A bundle goes to a hub as it is, and comes back as the same model; what doesn't verify goes nowhere."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi

from tests.hub import TOKEN, hub_server
from tests.serving import serving
from twofold.model import contract
from twofold.model.contract import ContractError
from twofold.training import cli
from twofold.training.bundle_ops.push import PushError, push


@pytest.fixture
def hub():
    with hub_server() as running:
        yield running


@pytest.fixture
def bundle(toy_bundle, tmp_path):
    return shutil.copytree(toy_bundle, tmp_path / "toy")


def api(hub, key=TOKEN):
    return HfApi(endpoint=hub.url, token=key)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_goes_there_as_it_is_and_a_newer_one_leaves_nothing_of_it(hub, bundle):
    first = push(bundle, "somebody/toy", api=api(hub))
    assert first == f"hf:somebody/toy@{hub.head}"
    assert {name: content for name, content in hub.files.items() if name != contract.HUB_FILE} == contents(bundle)
    (bundle / contract.CALIBRATION).unlink()
    contract.write_sums(bundle)
    second = push(bundle, "somebody/toy", api=api(hub))
    assert second == f"hf:somebody/toy@{hub.head}" != first
    assert {name: content for name, content in hub.files.items() if name != contract.HUB_FILE} == contents(bundle)
    assert hub.messages == [f"Bundle {contract.read_card(bundle).id}"] * 2


@pytest.mark.slow
def test_what_was_pushed_is_served_under_the_name_that_push_gave(hub, bundle, monkeypatch, tmp_path):
    name = push(bundle, "somebody/toy", api=api(hub))
    for variable, value in {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}.items():
        monkeypatch.setenv(variable, value)
    with serving(Path(name)) as server:
        assert contract.HUB_FILE in {path.name for path in (tmp_path / "cache").rglob("*")}  # the hub's own file came along
        answer = httpx.get(f"{server.url}/generate?class=0&seed=1", timeout=30)
    assert answer.status_code == 200
    assert answer.headers["x-model"] == contract.read_card(bundle).id


def test_a_repository_is_private_on_request(hub, bundle):
    push(bundle, "somebody/toy", private=True, api=api(hub))
    assert [asked["visibility"] for asked in hub.created] == ["private"]


def test_a_damaged_bundle_goes_nowhere(hub, bundle):
    (bundle / contract.DECODER).write_bytes(b"")
    with pytest.raises(ContractError, match=r"^decoder\.onnx: "):
        push(bundle, "somebody/toy", api=api(hub))
    assert (hub.created, hub.commits) == ([], {})


def test_what_the_hub_refuses_is_said_in_one_sentence(hub, bundle):
    with pytest.raises(PushError, match="set HF_TOKEN to a token that may write"):
        push(bundle, "somebody/toy", api=api(hub, key="hf_wrong"))
    with pytest.raises(PushError, match="must be USER/NAME"):
        push(bundle, "some body/toy", api=api(hub))
    with pytest.raises(PushError, match="ConnectError"):
        push(bundle, "somebody/toy", api=HfApi(endpoint="http://127.0.0.1:9", token=TOKEN))
    assert hub.commits == {}


def test_the_command_refuses_a_folder_that_is_no_bundle(tmp_path):
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        assert cli.main(["push", str(tmp_path), "somebody/toy"]) == 2
    assert stderr.getvalue() == "twofold-train: SHA256SUMS: missing or unreadable\n"
