"""Every hostile request gets its refusal: the right status and code, RFC 9457, at most 1 KiB, nothing echoed, never a 500.

The requests are the table of hostile_requests.py. Beside them: what is at a bound is taken, and odd but honest input does no harm.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest
from PIL import Image

from tests import drawings, toy
from tests.safety.hostile_requests import (
    BASES,
    BIG,
    DECODER,
    JSON,
    LENGTH,
    MARK,
    PART,
    PNG,
    SENT,
    TABLE,
    Z_S,
    Z_U,
    carrying,
    framed,
    recipe_of,
    sheet_of,
    with_size,
)
from twofold.service.http.problems import STATUS
from twofold.service.runtime.registry import load
from twofold.service.settings import Settings

MEMBERS = {"type", "title", "status", "code", "detail", "request_id"}
RAW = {"content-type": "image/png"}


def problem_of(answer, status, code=None):
    """What the refusal says; AssertionError where it is not one of the contract."""
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code or problem["code"]), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) <= 1024
    assert problem["status"] == status == STATUS[problem["code"]]
    protocol = {"error"} if answer.request.url.path.startswith("/v2/") or answer.request.url.path == "/v2" else set()
    assert MEMBERS | protocol <= problem.keys() <= MEMBERS | protocol | {"field", "allowed"}
    assert problem.get("error", problem["detail"]) == problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert MARK.lower() not in answer.text.lower()
    assert "Traceback" not in answer.text
    return problem


@pytest.mark.parametrize("hostile", TABLE, ids=str)
async def test_a_hostile_request_is_refused_as_the_table_says(client, hostile):
    problem_of(await client.request(hostile.method, hostile.url, **hostile.options), hostile.status, hostile.code)


def test_no_two_rows_of_the_table_have_one_name():
    assert {name: count for name, count in Counter(map(str, TABLE)).items() if count > 1} == {}


# ------------------------------------------------------------------------------------------------------ at and above a cap


@pytest.mark.parametrize(
    "query",
    ["class=1&seed=0", f"class=1&seed={BIG - 1}", "class=1&n=64", "class=1&index=2147483647", "class=1&temperature=0&class_temperature=4"],
)
async def test_values_of_a_query_at_their_bounds_are_taken(client, query):
    assert (await client.get(f"/generate?{query}")).status_code == 200


async def test_a_url_is_read_at_its_cap_and_refused_one_byte_above(client):
    path = "/generate?class=1&model="
    at_cap = path + "x" * (4096 - len(path))
    problem_of(await client.get(at_cap), 422)  # read, and the name is too long
    problem_of(await client.get(at_cap + "x"), 414)


async def test_headers_are_taken_at_their_cap_and_refused_one_byte_above(client):
    plain = client.build_request("GET", "/livez").headers.raw
    spent = sum(len(name) + len(value) + 4 for name, value in plain)
    left = 16 * 1024 - spent - len("x-long") - 4
    assert (await client.get("/livez", headers={"x-long": "a" * left})).status_code == 200
    problem_of(await client.get("/livez", headers={"x-long": "a" * (left + 1)}), 431)


async def test_a_body_is_taken_at_its_cap_and_refused_one_byte_above(client):
    cap = 8 * 2**20
    body = b'{"class":1' + b" " * (cap - 11) + b"}"
    assert len(body) == cap
    assert (await client.post("/generate", content=body, headers=JSON)).status_code == 200
    problem = problem_of(await client.post("/generate", content=body + b" ", headers=JSON), 413)
    assert str(cap) in problem["detail"]

    async def chunks():
        for _ in range(20):
            yield b" " * 2**20

    problem_of(await client.post("/generate", content=chunks(), headers=JSON), 413)


@pytest.mark.parametrize("unit", ["0.12345", "{}", "[]", '""'])
async def test_a_body_of_a_million_values_is_refused_before_it_is_parsed(client, unit):
    body = '{"items":[' + ",".join([unit] * 1_000_000) + "]}"
    problem = problem_of(await client.post("/decode", content=body, headers=JSON), 422)
    assert problem["allowed"] == "at most 1344 values"  # 64 items of 3 + 2 numbers and 16 other fields


@pytest.mark.parametrize(("values", "allowed"), [(1344, "a list of 1 to 64 items"), (1345, "at most 1344 values")])
async def test_values_are_counted_up_to_the_cap_and_refused_one_above(client, values, allowed):
    body = '{"items":[' + ",".join(["0"] * values) + "]" + " " * 64 * 1024 + "}"
    problem = problem_of(await client.post("/decode", content=body, headers=JSON), 422)
    assert allowed in problem["allowed"]


async def test_the_longest_body_of_full_items_is_far_below_the_cap_on_values(client):
    item = {"z_s": [0.123456789] * 3, "z_u": [0.123456789] * 2, "index": 0}
    body = json.dumps({"items": [item] * 64, "format": "png", "model": "toy"}) + " " * 64 * 1024
    assert (await client.post("/decode", content=body, headers=JSON)).status_code == 200


async def test_as_many_items_as_the_cap_are_taken(client):
    assert (await client.post("/decode", json={"items": [{"class": 1, "seed": k} for k in range(64)]})).status_code == 200


async def test_a_swap_of_as_many_cells_as_the_cap_is_taken(client):
    assert (await client.post("/swap", json={"class_from": [SENT] * 8, "style_from": [SENT] * 8})).status_code == 200


async def test_a_recipe_at_its_cap_is_read_and_one_byte_above_is_refused(client):
    left = 2**20 - len(recipe_of(note=""))
    for extra, status in ((0, 200), (1, 413)):
        picture = carrying(recipe_of(note="x" * (left + extra)))
        assert (await client.post("/inspect", content=picture, headers=RAW)).status_code == status


async def test_a_sheet_of_as_many_cells_as_the_cap_is_verified(client):
    model = client.app.state.state.registry.get()
    known = {"model_hash": model.card.model_hash, "provider": model.provider}
    sheet = carrying(sheet_of(64, 8, 8, **known), 64, 64)
    answer = await client.post("/inspect?verify=true", content=sheet, headers=RAW)
    assert (answer.status_code, answer.json()["verified"]) == (200, False)
    sheet = carrying(sheet_of(65, 8, 9, **known), 72, 64)
    problem_of(await client.post("/inspect?verify=true", content=sheet, headers=RAW), 422)


@pytest.mark.parametrize(
    ("route", "fields"),
    [("interpolate", fields) for fields in ({"keys": [SENT] * 8}, {"frames": 2}, {"frames": 64}, {"fps": 1, "frames": 3}, {"fps": 60})]
    + [("interpolate", {"seed": BIG - 1, "keys": [{"class": 1}, {"class": 1, "seed": BIG - 1, "index": 2**31 - 1}]})]
    + [("edit", {"class": 1, "strength": strength}) for strength in (0, 1)]
    + [("edit", {"style_spread": spread, "temperature": 4}) for spread in (0, 1)]
    + [("edit", {"n": 64}), ("edit", {"index": 2**31 - 1, "seed": BIG - 1, "style_spread": 0.5})]
    + [("inpaint", {"box": box}) for box in ([0, 0, 8, 7], [7, 7, 1, 1])]
    + [("inpaint", {"steps": steps}) for steps in (1, 32)],
)
async def test_controls_at_their_bounds_are_taken(client, route, fields):
    answer = await client.post(f"/{route}", json=BASES[route] | fields)
    assert answer.status_code == 200, answer.text


async def test_weights_of_directions_are_taken_at_their_bounds(open_client, tmp_path):
    model = load(toy.make_bundle(tmp_path / "toy", directions=toy.DIRECTIONS), Settings())
    client = await open_client(model)
    assert (await client.post("/edit", json={"image": SENT, "directions": {"0": -4, "1": 4}})).status_code == 200
    problem_of(await client.post("/edit", json={"image": SENT, "directions": {"0": -4, "1": 4.001}}), 422)


@pytest.mark.parametrize("name", ["frames", "n"])
async def test_the_cap_on_pictures_counts_frames_and_edits(open_client, name):
    client = await open_client(max_items=5)
    route = "interpolate" if name == "frames" else "edit"
    assert (await client.post(f"/{route}", json=BASES[route] | {name: 5})).status_code == 200
    problem = problem_of(await client.post(f"/{route}", json=BASES[route] | {name: 6}), 422)
    assert (problem["field"], problem["allowed"]) == (name, "at most 5")


# ------------------------------------------------------------------------------------------------------- odd but harmless


async def test_denormals_and_the_largest_codes_are_taken(client):
    items = [{"z_s": [1e-320, -1e-45, 10000], "z_u": [-10000, 0]}]
    assert (await client.post("/decode", json={"items": items})).status_code == 200


async def test_a_field_may_stand_in_the_query_beside_others_in_the_body(client):
    assert (await client.post("/generate?seed=1", json={"class": 1})).status_code == 200


async def test_a_body_that_is_encoded_as_identity_is_taken(client):
    answer = await client.post("/generate", content=b'{"class":1}', headers=JSON | {"content-encoding": "identity"})
    assert answer.status_code == 200


async def test_a_body_of_no_bytes_is_no_body_whatever_its_type(client):
    for content_type in ("application/json", "text/plain", "image/png"):
        answer = await client.post("/generate?class=1", content=b"", headers={"content-type": content_type, "content-encoding": "gzip"})
        assert answer.status_code == 200


async def test_a_file_name_is_never_read(client):
    answer = await client.post("/encode", content=PART + b"--b--\r\n", headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 200
    assert "passwd" not in answer.text


@pytest.mark.parametrize("declared", ["image/jpeg", "image/gif", "image/x-nonsense"])
async def test_the_content_decides_not_the_declared_type(client, declared):
    assert (await client.post("/encode", content=PNG, headers={"content-type": declared})).status_code == 200


async def test_a_raw_picture_is_taken_by_the_route_of_one_picture(client):
    assert (await client.post("/edit", content=PNG, headers=RAW)).status_code == 200


@pytest.mark.parametrize("orientation", [0, 9, 65535, 6])
async def test_odd_orientations_do_no_harm(client, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert (await client.post("/encode", content=drawings.jpeg(exif=exif), headers={"content-type": "image/jpeg"})).status_code == 200


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's warning; the picture is read all the same
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*" + b"\xff" * 40, b"Exif\0\0II*\0\x08\0\0\0\xff\xff"])
async def test_nonsense_in_exif_does_no_harm(client, exif):
    assert (await client.post("/encode", content=drawings.jpeg(exif=exif), headers={"content-type": "image/jpeg"})).status_code == 200


@pytest.mark.parametrize("side", [1, 4096])
async def test_extreme_sides_within_the_caps_are_taken(client, side):
    assert (await client.post("/encode", content=drawings.png(side, 1), headers=RAW)).status_code == 200


@pytest.mark.parametrize("known", ['"' * 15_000, '"a",' * 3_000, "W/" * 7_000, ",,,*"])
async def test_any_if_none_match_is_harmless(client, known):
    assert (await client.get("/generate?class=1&seed=1", headers={"if-none-match": known})).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"class": MARK},
        {"class": BIG},
        {"seed": -1},
        {"temperature": 1e308},
        {"sampler": MARK},
        {"do": "decode", "code": "c1." + MARK},
        {"do": "decode", "code": [1]},
        {"do": "swap"},
        {"do": "swap", "class_from": "c1.", "style_from": MARK},
    ],
    ids=range(9),
)
async def test_a_recipe_of_nonsense_is_not_verified_and_no_failure(client, changed):
    model = client.app.state.state.registry.get()
    picture = carrying(recipe_of(**{"model_hash": model.card.model_hash, **changed}))
    answer = await client.post("/inspect?verify=true", content=picture, headers=RAW)
    assert (answer.status_code, answer.json()["verified"]) == (200, False)
    assert MARK not in str(answer.json()["notes"])


@pytest.mark.parametrize("made_by", [None, 1, MARK, "é" * 64, "A" * 64, [], {MARK: 1}, "c" * 64])
async def test_another_model_is_named_in_an_answer_only_by_its_hash(client, made_by):
    picture = carrying(recipe_of(model_hash=made_by, do=[MARK]))
    answer = await client.post("/inspect?verify=true", content=picture, headers=RAW)
    assert answer.json()["verified"] is None
    named = "cccccccc" if made_by == "c" * 64 else "unknown"
    assert f"made by model {named}," in answer.json()["notes"][0]


async def test_a_sheet_that_claims_to_be_larger_than_the_picture_is_not_made(client):
    model = client.app.state.state.registry.get()
    picture = carrying(sheet_of(64, 1, 65_535, model_hash=model.card.model_hash))
    answer = await client.post("/inspect?verify=true", content=picture, headers=RAW)
    assert (answer.json()["verified"], answer.json()["max_difference"]) == (False, None)


# ---------------------------------------------------------------------------------------------------------------- tensors


async def test_two_tensors_one_behind_the_other_are_taken(client):
    inputs = [with_size(Z_S, 12), with_size({key: value for key, value in Z_U.items() if key != "data"}, 8)]
    assert (await client.post(DECODER, **framed({"inputs": inputs}, bytes(20)))).status_code == 200


@pytest.mark.parametrize("bits", [0x00000001, 0x80000000, 0x461C4000, 0xC61C4000], ids=["1.4e-45", "-0", "10000", "-10000"])
async def test_binary_denormals_and_the_largest_codes_are_taken(client, bits):
    sent = framed({"inputs": [with_size(Z_S, 12), Z_U]}, bits.to_bytes(4, "little") * 3)
    assert LENGTH in sent["headers"]
    assert (await client.post(DECODER, **sent)).status_code == 200


async def test_a_number_out_of_bounds_names_the_tensor(client):
    sent = framed({"inputs": [with_size(Z_S, 12), Z_U]}, b"\xff" * 12)
    assert problem_of(await client.post(DECODER, **sent), 422)["field"] == "inputs.0"


async def test_a_path_that_only_begins_like_the_protocols_has_no_error_member(client):
    assert "error" not in (await client.get("/v20")).json()
