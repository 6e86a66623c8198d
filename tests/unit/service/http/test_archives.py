"""Answers as a zip of pictures or as arrays for numpy: complete, and the same bytes for the same request."""

import base64
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests import drawings
from twofold.service.http import responses
from twofold.service.runtime import latents
from twofold.service.runtime.operations import Code, Decode

JSON, ZIP, NPZ = ({"accept": media} for media in ("application/json", "application/zip", "application/x-npz"))
GENERATE = ("/generate", {"class": 1, "n": 3, "seed": 5, "index": 4})
DECODE = ("/decode", {"items": [{"class": 1, "seed": 3, "index": 2}, {"class": 2, "z_u": [0.5, -0.5]}]})
PICTURE = base64.b64encode(drawings.png(level=90)).decode()
SWAP = ("/swap", {"class_from": [PICTURE], "style_from": [PICTURE, PICTURE], "verdict": True})
INTERPOLATE = ("/interpolate", {"keys": [PICTURE, {"class": 1}], "frames": 3, "seed": 1, "verdict": True})
EDIT = ("/edit", {"image": PICTURE, "class": 2, "style_spread": 0.5, "n": 2, "seed": 1, "verdict": True})
INPAINT = ("/inpaint", {"image": PICTURE, "box": [1, 2, 3, 4]})
MADE = [GENERATE, DECODE, SWAP, INTERPOLATE, EDIT, INPAINT]
ROUTES = pytest.mark.parametrize(("path", "body"), MADE, ids=[path[1:] for path, _ in MADE])


async def sent(client, path, body, headers):
    answer = await client.post(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == headers["accept"]
    assert answer.headers["vary"] == "Accept"
    return answer


def opened(answer):
    return zipfile.ZipFile(io.BytesIO(answer.content))


def arrays(answer):
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as found:
        return dict(found)


@ROUTES
@pytest.mark.parametrize("form", ["png", "webp"])
async def test_a_zip_holds_what_json_holds(client, path, body, form):
    reported = (await sent(client, path, body | {"format": form}, JSON)).json()
    archive = opened(await sent(client, path, body | {"format": form}, ZIP))
    assert archive.testzip() is None
    names = [f"{k:04}.{form}" for k in range(len(reported["images"]))]
    assert archive.namelist() == [*names, "manifest.json"]
    manifest = json.loads(archive.read("manifest.json"))
    for name, image, entry in zip(names, reported["images"], manifest.pop("images"), strict=True):
        assert archive.read(name) == base64.b64decode(image.pop("image"))
        assert entry == {"file": name, **image}
    assert manifest == {key: value for key, value in reported.items() if key not in ("images", "timings_ms")}


@ROUTES
async def test_arrays_hold_the_pixels_and_codes_that_json_holds(client, path, body):
    reported = (await sent(client, path, body, JSON)).json()["images"]
    found = arrays(await sent(client, path, body, NPZ))
    model = client.app.state.state.registry.get()
    assert found["pixels"].dtype == np.uint8
    assert found["z_s"].dtype == found["z_u"].dtype == np.float32
    for k, image in enumerate(reported):
        assert np.array_equal(found["pixels"][k, :, :, 0], np.asarray(Image.open(io.BytesIO(base64.b64decode(image["image"])))))
        z_s, z_u = latents.unpack_token(image["code"], model.card)
        assert found["z_s"][k].tobytes() == z_s.tobytes()
        assert found["z_u"][k].tobytes() == z_u.tobytes()


async def test_labels_seeds_and_indices_stand_in_the_arrays_where_every_picture_has_one(client):
    made = arrays(await sent(client, *GENERATE, NPZ))
    assert [made[name].tolist() for name in ("labels", "seeds", "indices")] == [[1] * 3, [5] * 3, [4, 5, 6]]
    decoded = arrays(await sent(client, *DECODE, NPZ))
    assert decoded["labels"].tolist() == [1, 2]
    assert decoded.keys() == {"pixels", "z_s", "z_u", "labels"}
    assert arrays(await sent(client, *SWAP, NPZ)).keys() == {"pixels", "z_s", "z_u"}


async def test_the_largest_seed_fits_into_the_arrays(client):
    made = arrays(await sent(client, "/generate", {"class": 1, "seed": 2**63 - 1, "index": 2**31 - 1}, NPZ))
    assert (made["seeds"].tolist(), made["indices"].tolist()) == ([2**63 - 1], [2**31 - 1])


@ROUTES
@pytest.mark.parametrize("headers", [ZIP, NPZ], ids=["zip", "npz"])
async def test_an_archive_has_the_same_bytes_each_time_and_no_date(client, path, body, headers):
    first, second = [await sent(client, path, body, headers) for _ in "ab"]
    assert first.content == second.content
    for info in opened(first).infolist():
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert info.compress_type == zipfile.ZIP_STORED
        assert info.external_attr >> 16 == 0o644


async def test_an_archive_of_an_upload_or_a_random_seed_is_not_stored(client):
    for path, body in (SWAP, DECODE, ("/generate", {"class": 1})):
        for headers in (ZIP, NPZ):
            assert (await sent(client, path, body, headers)).headers["cache-control"] == "no-store"


async def test_a_zip_at_the_cap_is_whole_and_has_recipes_unless_switched_off(open_client):
    for recipe in (True, False):
        client = await open_client(recipe=recipe)
        archive = opened(await sent(client, "/generate", {"class": 1, "n": 64, "seed": 5}, ZIP))
        assert len(archive.namelist()) == 65
        assert all((b"iTXt" in archive.read(f"{k:04}.png")) is recipe for k in range(64))
        assert (await client.post("/generate", json={"class": 1, "n": 65, "seed": 5}, headers=ZIP)).status_code == 422


async def test_a_route_needs_nothing_of_its_own_for_archives(client):
    """What a route hands over for JSON is enough: pixels, recipes, entries with their code."""
    model = client.app.state.state.registry.get()
    z_s, z_u = latents.class_mean(model.prior, 1), np.zeros(2, np.float32)
    entries = [{"frame": 0, "t": 0.0, "code": latents.pack_token(z_s, z_u, model.card)}]
    operation = Decode((Code(z_s, z_u, model.card),))
    images = responses.Images(model, operation, np.zeros((1, 8, 8, 1), np.uint8), entries, 1, 1)
    context = responses.RequestContext(client.app.state.state, "r", 0.0)
    zipped = zipfile.ZipFile(io.BytesIO((await responses.respond(context, "application/zip", images, "png")).body))
    assert json.loads(zipped.read("manifest.json"))["images"] == [{"file": "0000.png", **entries[0]}]
