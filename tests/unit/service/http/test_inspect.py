"""POST /inspect: the recipe that a picture carries, and whether it makes the picture."""

import base64
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests import drawings
from tests.toy import DIRECTIONS, make_bundle
from twofold.model import contract
from twofold.service.runtime import image_headers, image_io, latents, provenance
from twofold.service.runtime.registry import load
from twofold.service.settings import Settings

JSON = {"accept": "application/json"}
MADE = {"class": 1, "seed": 5, "index": 2, "temperature": 0.5}


async def inspected(client, picture, verify=True, **query):
    answer = await client.post("/inspect", params=query, files={"image": ("a", picture)}, data={"verify": str(verify).lower()})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    reported = answer.json()
    assert reported.keys() == {"model", "recipe", "verified", "max_difference", "notes", "timings_ms"}
    assert reported["model"] == answer.headers["x-model"]
    return reported


def verdict(reported):
    return reported["verified"], reported["max_difference"], reported["notes"]


async def made(client, path, body, media="image/png"):
    answer = await client.post(path, json=body, headers={"accept": media})
    assert answer.status_code == 200, answer.text
    return answer.content


def pixels_of(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("L"))[:, :, None]


def written_in(picture):
    header = image_headers.check_picture(picture, Settings())
    return image_io.read_recipe(picture, header, 2**20)


def model_of(client):
    return client.app.state.state.registry.get()


async def test_the_recipe_is_returned_as_it_stands_for_every_kind_of_body(client):
    picture = await made(client, "/generate", MADE)
    answers = [
        await client.post("/inspect", files={"image": ("a", picture)}),
        await client.post("/inspect", content=picture, headers={"content-type": "image/png"}),
        await client.post("/inspect", json={"image": base64.b64encode(picture).decode()}),
    ]
    for answer in answers:
        reported = answer.json()
        assert reported["recipe"] == json.loads(written_in(picture))
        assert verdict(reported) == (None, None, [])
    assert answers[0].json()["recipe"].items() >= MADE.items()


@pytest.mark.parametrize("media", ["image/png", "image/webp"])
@pytest.mark.parametrize("n", [1, 2, 7, 64])
async def test_a_generated_picture_or_sheet_is_verified(client, media, n):
    reported = await inspected(client, await made(client, "/generate", MADE | {"n": n}, media))
    assert verdict(reported) == (True, 0, [])
    assert len(reported["recipe"].get("pictures", [1])) == n


async def test_every_way_to_decode_is_verified(client):
    prior = model_of(client).prior
    items = [
        {"class": "beta", "seed": 3, "index": 2},
        {"class": 1, "z_u": [0.5, -0.5]},
        {"class": 1, "z_u": [0.1, 0.3], "seed": 4},
        {"z_s": prior.fit_means[2].tolist(), "z_u": [1 / 3, -2e-5]},
        {"class_weights": {"0": 0.25, "beta": 0.75}, "seed": 3},
        {"z_s": [0.1, 0.2, 0.3], "seed": 9},
    ]
    sheet = await made(client, "/decode", {"items": items})
    reported = await inspected(client, sheet)
    assert verdict(reported) == (True, 0, [])
    assert [("code" in one, one.get("seed")) for one in reported["recipe"]["pictures"]] == [(False, 3)] + [(True, None)] * 5
    (token,) = [image["code"] for image in json.loads(await made(client, "/decode", {"items": items[3:4]}, "application/json"))["images"]]
    assert verdict(await inspected(client, await made(client, "/decode", {"items": [{"code": token}]}))) == (True, 0, [])


async def test_a_swap_of_uploaded_pictures_is_verified_without_them(client):
    pictures = [await made(client, "/generate", {"class": label, "seed": label}) for label in range(3)]
    uploads = [base64.b64encode(picture).decode() for picture in pictures]
    sheet = await made(client, "/swap", {"class_from": uploads[:2], "style_from": uploads})
    reported = await inspected(client, sheet)
    assert verdict(reported) == (True, 0, [])
    assert (reported["recipe"]["rows"], reported["recipe"]["cols"]) == (2, 3)
    assert all(one["class_from"].startswith("c1.") for one in reported["recipe"]["pictures"])


async def test_pictures_out_of_json_and_out_of_a_zip_are_verified(client):
    body = MADE | {"n": 2, "format": "webp"}
    (_, inside) = json.loads(await made(client, "/generate", body, "application/json"))["images"]
    zipped = zipfile.ZipFile(io.BytesIO(await made(client, "/generate", body, "application/zip"))).read("0001.webp")
    assert base64.b64decode(inside["image"]) == zipped
    reported = await inspected(client, zipped)
    assert verdict(reported) == (True, 0, [])
    assert reported["recipe"]["index"] == 3


async def test_a_picture_is_verified_after_a_restart_and_by_another_replica(client, open_client):
    sheet = await made(client, "/generate", MADE | {"n": 5})
    assert verdict(await inspected(await open_client(), sheet)) == (True, 0, [])


async def test_one_changed_pixel_is_found(client):
    picture = await made(client, "/generate", MADE | {"n": 5})
    pixels = pixels_of(picture).copy()
    pixels[9, 9] ^= 1
    reported = await inspected(client, image_io.encode(pixels, image_io.PNG, written_in(picture)))
    assert verdict(reported) == (False, 1, [])
    pixels[15, 23] = 0  # a spare cell
    assert (await inspected(client, image_io.encode(pixels, image_io.PNG, written_in(picture))))["max_difference"] == 255


async def test_another_recipe_in_the_same_picture_is_found(client):
    picture, other = [await made(client, "/generate", MADE | {"seed": seed}) for seed in (5, 6)]
    reported = await inspected(client, image_io.encode(pixels_of(picture), image_io.PNG, written_in(other)))
    assert reported["verified"] is False
    assert reported["max_difference"] > 1


@pytest.mark.parametrize(("ours", "theirs"), [("Other", "CPUExecutionProvider"), ("CPUExecutionProvider", "Other"), ("Other", "Other")])
async def test_off_the_cpu_provider_one_grey_level_is_allowed_and_two_are_not(open_client, toy_bundle, ours, theirs):
    model = load(toy_bundle, Settings())
    model.provider = theirs
    text = provenance.write(model, "decode", {"class": 1, "index": 0, "n": 1, "seed": 5})
    z_s, z_u = latents.sample_z_s(model.prior, 1, 5, 0), latents.sample_z_u(model.prior, 5, 0)
    (pixels,) = model.engine.decode(z_s[None], z_u[None])
    model.provider = ours
    client = await open_client(model)
    for off, verified in ((0, True), (1, True), (2, False)):
        shown = (pixels + np.where(pixels < 128, off, -off)).astype(np.uint8)
        reported = await inspected(client, image_io.encode(shown, image_io.PNG, text))
        assert verdict(reported) == (verified, off, ["not on the CPU both times: one grey level is allowed"])


async def test_another_models_picture_is_not_verified_and_both_hashes_are_named(client, open_client, tmp_path):
    other = await open_client(load(make_bundle(tmp_path / "other", seed=1), Settings()))
    picture = await made(other, "/generate", MADE)
    theirs, ours = (model_of(one).card.model_hash[:8] for one in (other, client))
    for verify in (True, False):
        reported = await inspected(client, picture, verify)
        assert verdict(reported) == (None, None, [f"the picture was made by model {theirs}, and this is model {ours}"])
        assert reported["recipe"]["model_hash"].startswith(theirs)


async def test_a_picture_of_a_version_that_says_so_is_still_compared(client):
    picture = await made(client, "/generate", MADE)
    older = provenance.write(model_of(client), "generate", json.loads(written_in(picture)) | {"service": "0.0.1"})
    reported = await inspected(client, image_io.encode(pixels_of(picture), image_io.PNG, older))
    assert verdict(reported) == (True, 0, ["made by another version of the service"])


async def test_a_kind_that_cannot_be_made_again_is_reported_and_not_verified(client):
    text = provenance.write(model_of(client), "unheard", {"n": 1})
    reported = await inspected(client, image_io.encode(np.zeros((8, 8, 1), np.uint8), image_io.PNG, text))
    assert verdict(reported) == (None, None, ["pictures of this kind cannot be made again from their recipe alone"])


async def test_a_row_of_frames_is_verified(client):
    sent = base64.b64encode(drawings.png(12, 8, level=200)).decode()
    keys = [sent, {"class": 1}, {"class": 2, "seed": 4}]
    for request_body in ({"path": "slerp"}, {"vary": "class"}, {"vary": "style", "frames": 2}):
        row = await made(client, "/interpolate", {"keys": keys, "frames": 6, "seed": 3} | request_body)
        assert verdict(await inspected(client, row)) == (True, 0, [])


async def test_an_edit_is_verified_where_its_directions_are_those_of_the_bundle(client, open_client, tmp_path):
    steered = await open_client(load(make_bundle(tmp_path / "steered", directions=DIRECTIONS), Settings()))
    others = contract.Directions(DIRECTIONS.directions[::-1], DIRECTIONS.effects)
    other = await open_client(load(make_bundle(tmp_path / "other", directions=others), Settings()))
    sent = {"image": base64.b64encode(drawings.png(level=200)).decode(), "seed": 3, "n": 3, "style_spread": 0.5}
    for request_body in ({}, {"class": 1, "strength": 0.25, "temperature": 2}, {"style_spread": 0, "n": 1}):
        sheet = await made(steered, "/edit", sent | request_body)
        for service in (steered, other, client):  # one model hash: directions are no part of it
            assert verdict(await inspected(service, sheet)) == (True, 0, [])
        moved = await made(steered, "/edit", sent | request_body | {"directions": {"0": 1.5, "1": -0.5}})
        assert verdict(await inspected(steered, moved)) == (True, 0, [])
        for service in (other, client):
            note = "the picture was moved along directions of style that this bundle does not have"
            assert verdict(await inspected(service, moved)) == (None, None, [note])


async def test_a_filled_picture_is_verified_in_its_hole(client):
    sent = base64.b64encode(drawings.png(level=200)).decode()
    picture = await made(client, "/inpaint", {"image": sent, "box": [2, 3, 4, 2]})
    note = "of a filled picture the hole is compared; what is around it was sent"
    assert verdict(await inspected(client, picture)) == (True, 0, [note])
    for x, found in ((1, (True, 0, [note])), (2, (False, 1, [note]))):
        pixels = pixels_of(picture).copy()
        pixels[3, x] ^= 1
        assert verdict(await inspected(client, image_io.encode(pixels, image_io.PNG, written_in(picture)))) == found


async def test_a_recipe_that_this_model_never_wrote_is_false(client):
    text = provenance.write(model_of(client), "generate", MADE | {"class": 4, "class_temperature": 1.0, "n": 1, "sampler": "fitted"})
    reported = await inspected(client, image_io.encode(np.zeros((8, 8, 1), np.uint8), image_io.PNG, text))
    assert verdict(reported) == (False, None, ["the recipe was changed: class must be an integer from 0 to 3"])


@pytest.mark.parametrize("picture", [drawings.png(), drawings.jpeg(), drawings.webp()])
async def test_a_picture_without_a_recipe_is_no_mistake(client, picture):
    reported = await inspected(client, picture)
    assert reported["recipe"] is None
    assert verdict(reported) == (None, None, ["the picture carries no recipe"])


async def test_a_picture_of_a_service_that_writes_no_recipes_carries_none(open_client):
    client = await open_client(recipe=False)
    assert (await inspected(client, await made(client, "/generate", MADE)))["recipe"] is None


async def test_verifying_tells_its_times(client):
    picture = await made(client, "/generate", MADE)
    answer = await client.post("/inspect?verify=true", content=picture, headers={"content-type": "image/png"})
    assert answer.json()["verified"] is True
    stages = [stage.partition(";")[0] for stage in answer.headers["server-timing"].split(", ")]
    assert stages == ["preprocess", "queue", "model", "total"]
