"""A picture is a pure function of its request: the same bytes by GET, by POST, alone, in a batch, and among others."""

import asyncio
import base64

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
