"""A seeded GET can be kept and asked for again: an ETag of all that the bytes depend on, and 304 before the model runs."""

import re

import pytest

from tests.toy import make_bundle
from twofold.service.runtime.registry import load
from twofold.service.settings import Settings

URL = "/generate?class=1&seed=5"


async def tag_of(client, url=URL, **headers):
    answer = await client.get(url, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["etag"]


async def test_a_picture_that_is_known_is_not_made_again(open_client, toy_bundle):
    batches = []
    client = await open_client(load(toy_bundle, Settings(), batches.append))
    tag = await tag_of(client)
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    assert batches == [1]
    again = await client.get(URL, headers={"if-none-match": tag})
    assert (again.status_code, again.content, batches) == (304, b"", [1])
    assert again.headers["etag"] == tag
    assert (again.headers["vary"], again.headers["cache-control"], again.headers["x-seed"]) == ("Accept", "no-cache", "5")
    assert again.headers["x-model"].startswith("toy@")
    assert "content-type" not in again.headers


@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', '"a,b" , W/"c",{}', "*", " * "])
async def test_if_none_match_is_a_list_a_weak_tag_or_a_star(client, known):
    tag = await tag_of(client)
    assert (await client.get(URL, headers={"if-none-match": known.format(tag)})).status_code == 304


@pytest.mark.parametrize("known", ["", '"other"', "{bare}", '"{bare}', '""', "nonsense", '"' * 9, '"*"', "\xff".encode("latin-1")])
async def test_an_if_none_match_that_does_not_name_the_picture_gets_it(client, known):
    tag = await tag_of(client)
    value = known if isinstance(known, bytes) else known.format(bare=tag.strip('"'))
    assert (await client.get(URL, headers={"if-none-match": value})).status_code == 200


async def test_the_same_request_in_other_words_has_the_same_tag(client):
    tag = await tag_of(client)
    for url in ("class=beta&seed=5", "seed=5&class=name:Beta&n=1&index=0", "class=1&seed=5&temperature=1&class_temperature=1.00"):
        assert await tag_of(client, f"/generate?{url}") == tag
    assert await tag_of(client, URL + "&format=webp") == tag  # says nothing of a bare picture
    assert await tag_of(client, URL + "&model=toy") == tag


async def test_whatever_changes_the_bytes_changes_the_tag(client, open_client, tmp_path):
    others = ["class=2&seed=5", "class=1&seed=6", "class=1&seed=5&n=2", "class=1&seed=5&index=1", "class=1&seed=5&temperature=0.5"]
    others += ["class=1&seed=5&class_temperature=0.5", "class=1&seed=5&sampler=paper"]
    tags = [await tag_of(client)] + [await tag_of(client, f"/generate?{url}") for url in others]
    tags.append(await tag_of(client, accept="image/webp"))
    tags.append(await tag_of(await open_client(recipe=False)))
    tags.append(await tag_of(await open_client(load(make_bundle(tmp_path / "other", seed=1), Settings()))))
    assert len(set(tags)) == len(tags)


async def test_the_tag_is_the_same_after_a_restart(client, open_client):
    assert await tag_of(client) == await tag_of(await open_client())


@pytest.mark.parametrize("query", ["class=1", "class=1&n=2"])
async def test_a_picture_of_a_random_seed_has_no_tag_and_is_not_stored(client, query):
    answer = await client.get(f"/generate?{query}", headers={"if-none-match": "*"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers


async def test_a_post_is_answered_whatever_is_known(client):
    answer = await client.post("/generate", json={"class": 1, "seed": 5}, headers={"if-none-match": "*"})
    assert answer.status_code == 200
    assert "etag" not in answer.headers


async def test_a_refusal_comes_before_what_is_known(client):
    answer = await client.get("/generate?class=9&seed=5", headers={"if-none-match": "*"})
    assert answer.status_code == 422
    assert "etag" not in answer.headers
