"""A picture is a pure function of its request: the same bytes by GET, by POST, alone, in a batch, and among others."""

import asyncio
import base64
import io

from PIL import Image

JSON = {"accept": "application/json"}


async def test_a_picture_has_the_same_bytes_however_it_is_asked_for(client):
    got = (await client.get("/generate?class=2&seed=9&index=5")).content
    posted = await client.post("/generate", json={"class": "name:Gamma", "seed": 9, "index": 5})
    queried = await client.post("/generate?seed=9&index=5&class=gamma&n=1&temperature=1&class_temperature=1.0&sampler=fitted")
    batch = await client.post("/generate", json={"class": 2, "seed": 9, "index": 0, "n": 8}, headers=JSON)
    assert got.startswith(b"\x89PNG")
    assert posted.content == got
    assert queried.content == got
    assert base64.b64decode(batch.json()["images"][5]["image"]) == got


async def test_a_picture_has_the_same_bytes_among_mixed_requests_at_once(client):
    wanted = {(label, index): f"/generate?class={label}&seed=3&index={index}" for label in range(4) for index in range(6)}
    alone = {key: (await client.get(url)).content for key, url in wanted.items()}
    noise = [client.post("/generate", json={"class": k % 4, "seed": k, "n": 1 + k % 7}) for k in range(20)]
    noise += [client.post("/decode", json={"items": [{"class": 1, "z_u": [k / 9, 0]}]}) for k in range(10)]
    jobs = [client.get(url) for url in wanted.values()] + noise
    answers = await asyncio.gather(*jobs)
    assert all(answer.status_code == 200 for answer in answers)
    assert {key: answer.content for key, answer in zip(wanted, answers, strict=False)} == alone


async def test_another_seed_index_or_temperature_gives_another_picture(client):
    urls = ["class=2&seed=9", "class=2&seed=10", "class=2&seed=9&index=1", "class=2&seed=9&temperature=2", "class=1&seed=9"]
    urls += ["class=2&seed=9&class_temperature=0", "class=2&seed=9&sampler=paper&temperature=0"]
    pictures = [(await client.get(f"/generate?{url}")).content for url in urls]
    assert len(set(pictures)) == len(urls)


async def test_a_recipe_says_nothing_of_time_or_request(client):
    first, second = [(await client.get("/generate?class=2&seed=9&n=3", headers={"x-request-id": name})).content for name in "ab"]
    assert first == second


async def test_edits_frames_and_fills_have_the_same_bytes_alone_and_among_others(client):
    made = (await client.post("/generate", json={"class": 1, "n": 3, "seed": 2}, headers=JSON)).json()["images"]
    wishes = []
    for k, image in enumerate(made):
        wishes.append(("/edit", {"image": image["image"], "class": k, "style_spread": 0.5, "seed": 4, "index": k}))
        wishes.append(("/interpolate", {"keys": [image["image"], made[k - 1]["code"], {"class": k}], "frames": 5 + k, "seed": 4}))
        wishes.append(("/inpaint", {"image": image["image"], "box": [k, 1, 4, 5], "steps": 3}))
    alone = [(await client.post(path, json=body)).content for path, body in wishes]
    noise = [client.post("/generate", json={"class": k % 4, "seed": k, "n": 1 + k % 7}) for k in range(10)]
    answers = await asyncio.gather(*(client.post(path, json=body) for path, body in wishes * 2), *noise)
    assert all(answer.status_code == 200 for answer in answers)
    assert [answer.content for answer in answers[: 2 * len(wishes)]] == alone * 2
    assert len(set(alone)) == len(wishes)


async def test_a_frame_and_an_edit_are_the_picture_of_their_code(client):
    keys = [{"class": 1, "seed": 2}, {"class": 3, "seed": 5}]
    frames = (await client.post("/interpolate", json={"keys": keys, "frames": 9}, headers=JSON)).json()["images"]
    edits = {"image": frames[4]["code"], "style_spread": 0.8, "seed": 3, "n": 7}
    frames += (await client.post("/edit", json=edits, headers=JSON)).json()["images"]
    again = (await client.post("/decode", json={"items": [{"code": one["code"]} for one in frames]}, headers=JSON)).json()["images"]
    for made, decoded in zip(frames, again, strict=True):
        assert pixels(made) == pixels(decoded)


def pixels(image) -> bytes:
    return Image.open(io.BytesIO(base64.b64decode(image["image"]))).tobytes()
