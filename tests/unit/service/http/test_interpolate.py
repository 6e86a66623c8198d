"""/interpolate on the toy bundle: keys of every kind, what varies, rows, animations, and recipes that make every frame again."""

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


async def ok(request):
    answer = await request
    assert answer.status_code == 200, answer.text
    return answer


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture
def local(toy_bundle):
    return Local(toy_bundle).arrays


@pytest.fixture
def tokens(local):
    """Two codes of other classes and other styles."""
    z_s, z_u = local.sample([0, 2], seed=5)
    return [latents.pack_token(z_s[k], z_u[k], local.card) for k in range(2)]


async def frames_of(client, **fields):
    return (await ok(client.post("/interpolate", json=fields, headers=JSON))).json()["images"]


async def test_frames_go_evenly_from_the_first_key_to_the_last(client, local, tokens):
    images = await frames_of(client, keys=tokens, frames=5)
    assert [image["frame"] for image in images] == [0, 1, 2, 3, 4]
    assert [image["t"] for image in images] == [0, 0.25, 0.5, 0.75, 1]
    assert [images[0]["code"], images[-1]["code"]] == tokens
    a, b = (np.concatenate(latents.unpack_token(token, local.card)) for token in tokens)
    for image in images:
        z_s, z_u = latents.unpack_token(image["code"], local.card)
        np.testing.assert_allclose(np.concatenate([z_s, z_u]), (1 - image["t"]) * a + image["t"] * b, rtol=1e-5)
        assert np.array_equal(pixels_of(base64.b64decode(image["image"])), local.decode(z_s[None], z_u[None])[0, :, :, 0])


async def test_a_row_shows_the_frames_in_order(client, tokens):
    images = await frames_of(client, keys=tokens, frames=3)
    row = await ok(client.post("/interpolate", json={"keys": tokens, "frames": 3}))
    assert row.headers["x-sheet"] == "rows=1; cols=3; cell=8x8"
    assert row.headers["cache-control"] == "no-store"
    for k, image in enumerate(images):
        assert np.array_equal(pixels_of(row.content)[:, 8 * k : 8 * k + 8], pixels_of(base64.b64decode(image["image"])))


async def test_sixteen_frames_are_made_when_nobody_says_how_many(client, tokens):
    assert len(await frames_of(client, keys=tokens)) == 16


async def test_keys_may_be_pictures_tokens_and_classes_in_one_request(client, local, tokens):
    picture = (await ok(client.get("/generate?class=2&seed=5"))).content
    sent = base64.b64encode(picture).decode()
    keys = [sent, tokens[0], {"code": tokens[1]}, {"class": "beta", "seed": 3, "index": 1}]
    answer = (await ok(client.post("/interpolate", json={"keys": keys, "frames": 4}, headers=JSON))).json()
    got = [latents.unpack_token(image["code"], local.card) for image in answer["images"]]
    encoded = local.encode([picture])
    np.testing.assert_allclose(np.concatenate(got[0]), np.concatenate([encoded.z_s[0], encoded.z_u_mean[0]]), atol=1e-6)
    assert [answer["images"][1]["code"], answer["images"][2]["code"]] == tokens
    assert got[3][0].tobytes() == latents.sample_z_s(local.prior, 1, 3, 1).tobytes()
    assert got[3][1].tobytes() == latents.sample_z_u(local.prior, 3, 1).tobytes()
    assert answer["notes"] == {"keys": [[], [], [], []]}


async def test_multipart_keys_are_files_and_tokens_in_order(client, tokens):
    picture = drawings.png(12, 8, level=200)
    files = [("key", ("", tokens[0])), ("key", ("a", picture)), ("frames", ("", "2")), ("vary", ("", "class"))]
    answer = (await ok(client.post("/interpolate?path=slerp", files=files, headers=JSON))).json()
    assert answer["images"][0]["code"] == tokens[0]
    assert answer["notes"] == {"keys": [[], ["12x8 cropped to 8x8"]]}


async def test_classes_without_a_seed_are_their_means_in_one_style(client, local):
    body = {"keys": [{"class": 0}, {"class": "Gamma"}], "frames": 2, "seed": 11}
    answer = await ok(client.post("/interpolate", json=body, headers=JSON))
    got = [latents.unpack_token(image["code"], local.card) for image in answer.json()["images"]]
    style = latents.sample_z_u(local.prior, 11, 0)
    assert answer.headers["x-seed"] == "11"
    for (z_s, z_u), label in zip(got, (0, 2), strict=True):
        assert z_s.tobytes() == local.prior.fit_means[label].tobytes()
        assert z_u.tobytes() == style.tobytes()


async def test_a_random_seed_is_returned_only_where_one_is_needed(client, tokens):
    body = {"keys": [{"class": 0}, {"class": 1}], "frames": 2}
    generated = await ok(client.post("/interpolate", json=body))
    again = await ok(client.post("/interpolate", json=body | {"seed": int(generated.headers["x-seed"])}))
    assert again.content == generated.content
    assert "x-seed" not in (await ok(client.post("/interpolate", json={"keys": tokens, "seed": 3}))).headers
    own = {"keys": [{"class": 0, "seed": 1}, {"class": 1, "seed": 2}], "frames": 2, "seed": 3}
    assert "x-seed" not in (await ok(client.post("/interpolate", json=own))).headers


async def test_what_does_not_vary_stays_that_of_the_first_key(client, local, tokens):
    first = latents.unpack_token(tokens[0], local.card)
    for vary, held in (("class", 1), ("style", 0)):
        got = [latents.unpack_token(image["code"], local.card) for image in await frames_of(client, keys=tokens, frames=4, vary=vary)]
        assert {pair[held].tobytes() for pair in got} == {first[held].tobytes()}
        assert len({pair[1 - held].tobytes() for pair in got}) == 4


async def test_a_turning_way_differs_from_a_straight_one_between_the_keys_only(client, tokens):
    straight, turning = [await frames_of(client, keys=tokens, frames=3, path=path) for path in ("linear", "slerp")]
    assert [a["code"] == b["code"] for a, b in zip(straight, turning, strict=True)] == [True, False, True]


async def test_a_verdict_is_what_the_encoder_reads_in_every_frame(client, local, tokens):
    images = await frames_of(client, keys=tokens, frames=3, verdict=True)
    read = local.encode([base64.b64decode(image["image"]) for image in images])
    np.testing.assert_allclose([image["class_probs"] for image in images], np.exp(read.class_log_prob), rtol=1e-4, atol=1e-7)
    assert "class_probs" not in (await frames_of(client, keys=tokens, frames=3))[0]


@pytest.mark.parametrize(
    ("accept", "animate", "media", "moving"),
    [
        ("*/*", False, "image/png", False),
        ("image/webp", False, "image/webp", False),
        ("*/*", True, "image/webp", True),
        ("image/webp", True, "image/webp", True),
        ("image/gif", False, "image/gif", True),
        ("image/gif", True, "image/gif", True),
        ("image/gif, image/png;q=0.5", False, "image/gif", True),
    ],
)
async def test_accept_and_animate_decide_between_a_row_and_an_animation(client, tokens, accept, animate, media, moving):
    body = {"keys": tokens, "frames": 5, "animate": animate}
    answer = await ok(client.post("/interpolate", json=body, headers={"accept": accept}))
    image = Image.open(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == media
    assert answer.headers["vary"] == "Accept"
    assert (image.size, getattr(image, "n_frames", 1)) == (((8, 8), 5) if moving else ((40, 8), 1))
    assert ("x-sheet" in answer.headers) is not moving


@pytest.mark.parametrize("accept", ["image/png", "application/json"])
async def test_what_cannot_move_is_not_acceptable_for_an_animation(client, tokens, accept):
    answer = await client.post("/interpolate", json={"keys": tokens, "animate": True}, headers={"accept": accept})
    assert (answer.status_code, answer.json()["allowed"]) == (406, "image/webp, image/gif")


async def test_an_animation_has_the_frames_of_the_row_and_the_same_bytes_again(client, tokens):
    images = await frames_of(client, keys=tokens, frames=4)
    body = {"keys": tokens, "frames": 4, "fps": 4}
    for accept in ("image/gif", "image/webp"):
        first, second = [await ok(client.post("/interpolate", json=body | {"animate": True}, headers={"accept": accept})) for _ in range(2)]
        assert first.content == second.content
        moving = Image.open(io.BytesIO(first.content))
        for k, image in enumerate(images):
            moving.seek(k)
            assert np.array_equal(np.asarray(moving.convert("L")), pixels_of(base64.b64decode(image["image"])))


async def test_every_recipe_makes_its_frame_again(client, local, tokens):
    for vary, path in (("both", "slerp"), ("class", "linear"), ("style", "slerp")):
        keys = [*tokens, {"class": 1, "seed": 9}]
        for image in await frames_of(client, keys=keys, frames=6, vary=vary, path=path):
            data = base64.b64decode(image["image"])
            recipe = json.loads(Image.open(io.BytesIO(data)).text["twofold"])
            ends = [latents.unpack_token(recipe[end], local.card) for end in ("from", "to")]
            z_s, z_u = latents.between(*ends, recipe["t"], recipe["path"])
            assert latents.pack_token(z_s, z_u, local.card) == image["code"]
            assert np.array_equal(local.decode(z_s[None], z_u[None])[0, :, :, 0], pixels_of(data))
            assert recipe.keys() - {"model", "model_hash", "provider", "service", "twofold"} == {"do", "from", "n", "path", "t", "to"}


async def test_the_recipe_of_an_animation_holds_those_of_its_frames(client, tokens, open_client):
    body = {"keys": tokens, "frames": 3, "fps": 24}
    frame = base64.b64decode((await frames_of(client, **body))[1]["image"])
    moving = Image.open(io.BytesIO((await ok(client.post("/interpolate", json=body, headers={"accept": "image/gif"}))).content))
    reported = json.loads(moving.info["comment"])
    assert (reported["fps"], reported["pictures"][1]) == (24, json.loads(Image.open(io.BytesIO(frame)).text["twofold"]))
    silent = await open_client(recipe=False)
    moving = Image.open(io.BytesIO((await ok(silent.post("/interpolate", json=body, headers={"accept": "image/gif"}))).content))
    assert "comment" not in moving.info


@pytest.mark.parametrize(
    "key", [{}, {"seed": 1}, {"class": 1, "code": "c1.x"}, {"code": "c1.x", "seed": 1}, {"class": 9}, {"code": "c1.x"}, "c1.x"]
)
async def test_a_key_that_is_no_point_is_refused_by_its_place(client, tokens, key):
    answer = await client.post("/interpolate", json={"keys": [tokens[0], key]})
    assert (answer.status_code, answer.json()["field"].split(".")[:2]) == (422, ["keys", "1"])
