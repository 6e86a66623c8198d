"""/inpaint on the toy bundle: masks and boxes, pixels that stay, and recipes that draw the hole again."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests import drawings
from twofold.service.client import Local
from twofold.service.runtime import latents

JSON = {"accept": "application/json"}
BOX = [2, 3, 4, 2]
HOLE = np.zeros((8, 8), bool)
HOLE[3:5, 2:6] = True


def save(pixels: np.ndarray) -> bytes:
    return drawings.save(Image.fromarray(pixels), "PNG")


def base(data: bytes) -> str:
    return base64.b64encode(data).decode()


def level(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


MASK = save(HOLE.astype(np.uint8) * 255)


@pytest.fixture
def local(toy_bundle):
    return Local(toy_bundle).arrays


@pytest.fixture
def drawn(local):
    """A picture that the model can draw, [8,8]."""
    return local.generate(2, 1, seed=5)[0, :, :, 0]


async def ok(request):
    answer = await request
    assert answer.status_code == 200, answer.text
    return answer


async def test_the_hole_is_filled_and_every_other_pixel_stays_to_the_byte(client, local, drawn):
    cut = np.where(HOLE, 0, drawn).astype(np.uint8)
    answer = await ok(client.post("/inpaint", json={"image": base(save(cut)), "box": BOX}))
    filled = level(answer.content)
    assert np.array_equal(filled[~HOLE], drawn[~HOLE])
    assert np.array_equal(filled, local.inpaint(cut[None, :, :, None], HOLE[None])[0, :, :, 0])
    away = np.abs(local.mean_picture[:, :, 0].astype(float) - drawn)[HOLE].mean()
    assert np.abs(filled.astype(float) - drawn)[HOLE].mean() < 0.5 * away
    assert answer.headers["cache-control"] == "no-store"


async def test_what_was_in_the_hole_does_not_matter(client, drawn):
    answers = []
    for inside in (0, 255):
        picture = base(save(np.where(HOLE, inside, drawn).astype(np.uint8)))
        answers.append(await ok(client.post("/inpaint", json={"image": picture, "box": BOX})))
    assert answers[0].content == answers[1].content


async def test_a_box_and_a_mask_of_the_same_hole_by_json_and_multipart_are_the_same(client, drawn):
    picture = save(drawn)
    answers = [
        await ok(client.post("/inpaint", json={"image": base(picture), "box": BOX})),
        await ok(client.post("/inpaint", json={"image": base(picture), "mask": base(MASK)})),
        await ok(client.post("/inpaint", files={"image": ("a", picture), "mask": ("b", MASK)})),
        await ok(client.post("/inpaint", files={"image": ("a", picture), "box": ("", "2,3,4,2")})),
        await ok(client.post("/inpaint?box=2,3,4,2&steps=8", files={"image": ("a", picture)})),
    ]
    assert len({answer.content for answer in answers}) == 1


@pytest.mark.parametrize(
    "mask",
    [
        drawings.save(Image.fromarray(HOLE), "PNG"),
        drawings.save(Image.fromarray(HOLE.astype(np.uint8) * 128).convert("RGB"), "PNG"),
        drawings.save(Image.fromarray(HOLE.astype(np.uint8) * 255), "WEBP", lossless=True),
        drawings.save(Image.merge("LA", [Image.new("L", (8, 8), 255), Image.fromarray(HOLE.astype(np.uint8) * 255)]), "PNG"),
        drawings.save(Image.fromarray(HOLE.astype(np.uint8) * 255).resize((80, 80), Image.Resampling.NEAREST), "PNG"),
    ],
    ids=["1 bit", "half grey rgb", "webp", "what is transparent stays", "ten times as large"],
)
async def test_a_mask_may_be_any_picture(client, drawn, mask):
    expected = await ok(client.post("/inpaint", json={"image": base(save(drawn)), "box": BOX}))
    answer = await ok(client.post("/inpaint", files={"image": ("a", save(drawn)), "mask": ("b", mask)}))
    assert answer.content == expected.content


async def test_a_mask_as_large_as_its_picture_lies_on_it_where_both_are_cropped(client):
    wide, hole = np.full((8, 16), 60, np.uint8), np.zeros((8, 16), np.uint8)
    wide[:, 4:12] = np.arange(64).reshape(8, 8) * 3
    hole[3:5, 6:10] = 255
    hole[:, :4] = 255  # cut away with what it lies on
    answer = await ok(client.post("/inpaint", files={"image": ("a", save(wide)), "mask": ("b", save(hole))}, headers=JSON))
    (image,) = answer.json()["images"]
    assert answer.json()["notes"] == {"image": [["16x8 cropped to 8x8"]], "mask": [["16x8 cropped to 8x8"]]}
    assert np.array_equal(level(base64.b64decode(image["image"]))[~HOLE], wide[:, 4:12][~HOLE])


async def test_more_steps_are_more_rounds(client, local, drawn):
    for steps in (1, 3):
        answer = await ok(client.post("/inpaint", json={"image": base(save(drawn)), "box": BOX, "steps": steps}))
        assert np.array_equal(level(answer.content), local.inpaint(drawn[None, :, :, None], HOLE[None], steps)[0, :, :, 0])


async def test_json_has_the_class_and_the_code_that_the_hole_was_decoded_from(client, local, drawn):
    body = {"image": base(save(drawn)), "box": BOX, "format": "webp"}
    answer = (await ok(client.post("/inpaint", json=body, headers=JSON))).json()
    (image,) = answer["images"]
    assert image.keys() == {"image", "class", "code"}
    assert image["class"] == {"index": 2, "name": "Gamma"}
    assert base64.b64decode(image["image"])[8:12] == b"WEBP"
    assert answer["notes"] == {"image": [[]]}
    z_s, z_u = latents.unpack_token(image["code"], local.card)
    filled = level(base64.b64decode(image["image"]))[:, :, 0]
    assert np.array_equal(local.decode(z_s[None], z_u[None])[0, :, :, 0][HOLE], filled[HOLE])


async def test_the_recipe_draws_the_hole_again_and_the_picture_holds_the_rest(client, local, drawn):
    data = (await ok(client.post("/inpaint", json={"image": base(save(drawn)), "box": BOX}))).content
    recipe = json.loads(Image.open(io.BytesIO(data)).text["twofold"])
    assert recipe.keys() - {"model", "model_hash", "provider", "service", "twofold"} == {"do", "code", "hole", "n"}
    hole = np.unpackbits(np.frombuffer(base64.b64decode(recipe["hole"]), np.uint8), count=64).reshape(8, 8).astype(bool)
    assert np.array_equal(hole, HOLE)
    z_s, z_u = latents.unpack_token(recipe["code"], local.card)
    again = np.where(hole, local.decode(z_s[None], z_u[None])[0, :, :, 0], level(data))
    assert np.array_equal(again, level(data))
    assert not np.array_equal(level(data)[HOLE], drawn[HOLE])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "mask"),
        ({"box": BOX, "mask": base(MASK)}, "mask"),
        ({"box": [0, 0, 8, 8]}, "box"),
        ({"box": [0, 0, 9, 1]}, "box"),
        ({"box": [0, 0, 0, 1]}, "box"),
        ({"box": [0, 0, 1]}, "box"),
        ({"mask": base(save(np.zeros((8, 8), np.uint8)))}, "mask"),
        ({"mask": base(save(np.full((8, 8), 127, np.uint8)))}, "mask"),
        ({"mask": base(save(np.full((8, 8), 128, np.uint8)))}, "mask"),
        ({"mask": "c1.x"}, "mask"),
        ({"mask": base(drawings.frames("PNG"))}, None),
    ],
)
async def test_what_is_no_hole_is_refused_by_its_field(client, fields, field):
    answer = await client.post("/inpaint", json={"image": base(drawings.png())} | fields)
    assert (answer.status_code, answer.json().get("field")) == (422, field)
