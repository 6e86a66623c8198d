"""Train, export, measure, serve, and ask by HTTP: the whole road on real pictures, and a picture keeps its bytes all along it."""

from __future__ import annotations

import asyncio
import base64
import io
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.serving import serving
from twofold.model import contract

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]  # about a minute; a busy machine may take ten times that

ROOT = Path(__file__).parents[2]
PICTURES = sorted((ROOT / "tests" / "data" / "pictures").glob("*.png"))  # named class index, class name
LABELS = [int(path.name.split("-")[0]) for path in PICTURES]
SNEAKER, TROUSER = (next(path.read_bytes() for path in PICTURES if name in path.name) for name in ("sneaker", "trouser"))
JSON = {"accept": "application/json"}


def pixels(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (28, 28))
    return np.asarray(image)


def ask(server, method, path, **options):
    answer = httpx.request(method, server.url + path, timeout=30, **options)
    assert answer.status_code == 200, answer.text
    return answer


def encode(server, *pngs):
    return ask(server, "POST", "/encode", files=[("image", png) for png in pngs]).json()["items"]


def pair(class_from, style_from):
    return {"method": "POST", "path": "/swap", "files": {"class_from": class_from, "style_from": style_from}}


# -------------------------------------------------------------------------------------------------- pictures to a bundle


def test_tiny_trains_and_says_what_comes_next(trained, home):
    assert "[1/5 class encoder]" in trained.stderr
    assert "[5/5 sharpened]" in trained.stderr
    assert f"next: twofold-train export {home / 'run'}" in trained.stderr.splitlines()[-1]


def test_the_bundle_says_what_it_was_trained_on(unmeasured):
    files = contract.open_bundle(unmeasured)
    card = files.card
    assert (card.name, card.dims.classes, card.class_names[7], card.metrics) == ("tiny", 10, "Sneaker", {})
    assert (card.data["train_rows"], card.data["validation_rows"]) == (1800, 200)
    assert card.training["name"] == "tiny"


def test_its_figures_are_better_than_chance_and_stand_in_card_and_model_card(bundle, measured):
    card = contract.open_bundle(bundle).card
    values = card.metrics["values"]
    assert card.metrics["split"] == "test"
    assert values["class_accuracy"] > 0.6
    assert values["class_kept"] > 0.3
    assert values["brightness_moved"] > 0.2
    assert values["class_consistency"] > 0.4
    assert f"| {values['class_accuracy']:.3f} |" in measured
    assert measured in (bundle / contract.MODEL_CARD).read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------ bundle to answers


def test_a_class_is_a_picture_and_post_and_get_give_the_same_one(server, bundle):
    posted = ask(server, "POST", "/generate?class=7&seed=1")
    assert posted.headers["content-type"] == "image/png"
    assert posted.headers["x-model"] == contract.read_card(bundle).id
    assert posted.headers["x-seed"] == "1"
    assert pixels(posted.content).std() > 20
    assert ask(server, "GET", "/generate?class=7&seed=1").content == posted.content
    assert ask(server, "POST", "/generate", json={"class": "sneaker", "seed": 1}).content == posted.content
    assert ask(server, "GET", "/generate?class=7&seed=2").content != posted.content


def test_generated_sneakers_are_mostly_read_as_sneakers(server):
    drawn = ask(server, "POST", "/generate?class=7&seed=3&n=32", headers=JSON).json()["images"]
    read = encode(server, *(base64.b64decode(one["image"]) for one in drawn))
    assert sum(item["class"]["index"] == 7 for item in read) > 16


def test_real_pictures_are_read_better_than_chance_and_come_back_from_their_tokens(server):
    items = encode(server, *(path.read_bytes() for path in PICTURES))
    assert sum(item["class"]["index"] == label for item, label in zip(items, LABELS, strict=True)) >= 6
    assert all(0 <= item["typicality"] <= 1 for item in items)
    drawn = ask(server, "POST", "/decode", json={"items": [{"code": item["code"]} for item in items]}, headers=JSON).json()["images"]
    real = np.stack([pixels(path.read_bytes()) for path in PICTURES]).astype(float)
    back = np.stack([pixels(base64.b64decode(one["image"])) for one in drawn]).astype(float)
    errors = np.square(real[:, None] - back).mean((2, 3))
    assert np.diag(errors).mean() < 0.5 * errors[~np.eye(len(errors), dtype=bool)].mean()
    written_out = {"z_s": items[0]["z_s"], "z_u": items[0]["z_u"]}
    again = ask(server, "POST", "/decode", json={"items": [{"code": items[0]["code"]}, written_out]}, headers=JSON).json()["images"]
    assert again[0]["code"] == again[1]["code"] == items[0]["code"]
    assert pixels(base64.b64decode(again[1]["image"])).tolist() == back[0].tolist()


def test_two_real_pictures_swap_class_and_style(server):
    swapped = ask(server, **pair(SNEAKER, TROUSER)).content
    assert pixels(swapped).std() > 20
    sources = [base64.b64encode(path.read_bytes()).decode() for path in PICTURES[:5]]
    sent = {"class_from": [base64.b64encode(SNEAKER).decode(), *sources], "style_from": [*sources, base64.b64encode(TROUSER).decode()]}
    matrix = ask(server, "POST", "/swap", json={**sent, "verdict": True}, headers=JSON).json()
    assert (matrix["rows"], matrix["cols"]) == (6, 6)
    assert [(cell["row"], cell["col"]) for cell in matrix["images"]] == [(row, col) for row in range(6) for col in range(6)]
    assert base64.b64decode(matrix["images"][5]["image"]) == swapped  # the cell of the matrix is the pair alone
    assert sum(cell["verdict"]["kept"] for cell in matrix["images"]) > 18


# ---------------------------------------------------------------------------------------------------------- the same bytes


async def together(server, requests):
    """All at once; the answers in the order of the requests."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=httpx.Limits(max_connections=None)) as client:
        jobs = [client.request(one["method"], one["path"], **{k: one[k] for k in one.keys() - {"method", "path"}}) for one in requests]
        answers = await asyncio.gather(*jobs)
    assert {answer.status_code for answer in answers} == {200}
    return answers


def by_seed(indices):
    return [{"method": "GET", "path": f"/generate?class=7&seed=42&index={k}"} for k in indices]


@pytest.fixture(scope="module")
def alone(server):
    """The pictures 0..7 of seed 42, asked for one after the other."""
    return [ask(server, **one).content for one in by_seed(range(8))]


def test_a_seed_gives_the_same_bytes_alone_and_in_one_request(server, alone):
    batch = ask(server, "POST", "/generate?class=7&seed=42&n=8", headers=JSON).json()["images"]
    assert [base64.b64decode(one["image"]) for one in batch] == alone
    assert len(set(alone)) == 8


async def test_32_mixed_requests_at_once_give_the_bytes_that_each_gives_alone(server, alone):
    swaps = [pair(PICTURES[k].read_bytes(), PICTURES[-1 - k].read_bytes()) for k in range(8)]
    sheets = [{"method": "POST", "path": f"/generate?class={k}&seed={k}&n={1 + k % 5}"} for k in range(8)]
    reads = [{"method": "POST", "path": "/encode", "files": {"image": PICTURES[k].read_bytes()}} for k in range(8)]
    each = [ask(server, **one) for one in (*swaps, *sheets, *reads)]
    at_once = await together(server, [*by_seed(range(8)), *swaps, *sheets, *reads])
    assert [answer.content for answer in at_once[:8]] == alone
    assert [answer.content for answer in at_once[8:24]] == [answer.content for answer in each[:16]]
    tokens = [[answer.json()["items"][0]["code"] for answer in answers] for answers in (at_once[24:], each[16:])]
    assert tokens[0] == tokens[1]


def test_a_restarted_server_gives_the_same_bytes(server, alone, bundle):
    swap = ask(server, **pair(SNEAKER, TROUSER)).content
    with serving(bundle) as again:
        assert [ask(again, **one).content for one in by_seed(range(8))] == alone
        assert ask(again, **pair(SNEAKER, TROUSER)).content == swap


# --------------------------------------------------------------------------------------------------------------- the ends


def test_one_flipped_bit_and_the_server_refuses_to_start(bundle, tmp_path):
    damaged = shutil.copytree(bundle, tmp_path / "damaged")
    decoder = bytearray((damaged / contract.DECODER).read_bytes())
    decoder[len(decoder) // 2] ^= 1
    (damaged / contract.DECODER).write_bytes(decoder)
    command = [sys.executable, "-m", "twofold", "serve", "--port", "0", "--bundle", str(damaged)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "twofold: bundle damaged: decoder.onnx: its SHA-256 is not the one in SHA256SUMS\n"
    assert ended.stdout == ""


def test_sigterm_under_load_loses_nothing_that_was_accepted(bundle, alone):
    lost, wrong, answered, warm = [], [], [], threading.Event()

    def client(number: int) -> None:
        with httpx.Client(base_url=running.url, timeout=30) as session:
            for turn in range(100_000):
                k = (number + turn) % 8
                try:
                    if turn % 3 == 2:
                        answer = session.post("/encode", files={"image": PICTURES[k].read_bytes()})
                    else:
                        answer = session.get(f"/generate?class=7&seed=42&index={k}")
                except httpx.HTTPError as error:
                    lost.append(error)
                    return
                if answer.status_code != 200 or (turn % 3 != 2 and answer.content != alone[k]):
                    wrong.append(answer)
                answered.append((number, turn))
                if len(answered) > 100:
                    warm.set()
                if answer.headers.get("connection") == "close":
                    return

    with serving(bundle) as running:
        clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for one in clients:
            one.start()
        assert warm.wait(60)
        running.process.send_signal(signal.SIGTERM)
        for one in clients:
            one.join(60)
        assert running.process.wait(30) == 0
    assert (lost, wrong) == ([], [])
    assert len(set(answered)) == len(answered) > 100
