"""Hostile requests get a refusal of the contract: the right status, RFC 9457, at most 1 KiB, nothing echoed, never a 500."""

import base64
import json
import zlib

import numpy as np
import pytest

from tests import drawings, toy
from twofold.service.http.problems import STATUS
from twofold.service.runtime import image_io, provenance
from twofold.service.runtime.registry import load
from twofold.service.settings import Settings

MARK = "Zebra77"  # stands in inputs; no refusal may repeat it
TYPED = {"content-type": "application/json"}
PNG = drawings.png()
BIG = 2**63


async def refused(request, *statuses):
    answer = await request
    problem = answer.json()
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) <= 1024
    assert problem["status"] == answer.status_code == STATUS[problem["code"]]
    assert {"type", "title", "status", "code", "detail", "request_id"} <= problem.keys()
    assert problem.keys() <= {"type", "title", "status", "code", "detail", "request_id", "field", "allowed"}
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert MARK.lower() not in answer.text.lower()
    assert "Traceback" not in answer.text
    return problem


# ----------------------------------------------------------------------------------------------------------------- query


@pytest.mark.parametrize(
    "query",
    ["", "class=", f"class={MARK}", "class=-1", "class=4", "class=7.0", "class=%2B1", "class=%201", "class=01", "class=%D9%A1"]
    + ["class=%EF%BC%91", "class=true", "class=0x1", "class=" + "9" * 3000, "class=ga", "class=name:"]
    + [f"class=1&seed={seed}" for seed in ("-1", "1.0", "%2B1", "01", " 1", "1e3", "٧", "", BIG, 2**200, "0x7", "true", MARK)]
    + [f"class=1&n={n}" for n in (0, 65, 10**10, -1, "")]
    + [f"class=1&index={index}" for index in (2**31, -1, "a")]
    + ["class=1&index=2147483647&n=2"]
    + [f"class=1&temperature={t}" for t in ("nan", "NaN", "inf", "-inf", "1e999", "4.01", "-0.1", "", "1_0", "0x1", ".5", MARK)]
    + ["class=1&sampler=other", "class=1&format=gif", f"class=1&{MARK}=1", "class=1&class_=1", "Class=1"],
)
async def test_a_query_that_is_not_acceptable(client, query):
    await refused(client.get(f"/generate?{query}"), 422)
    await refused(client.post(f"/generate?{query}"), 422)


@pytest.mark.parametrize("query", ["class=1&class=1", "class=1&seed=1&seed=2", "class=%ff", "&".join(f"a{k}=1" for k in range(65))])
async def test_a_query_that_is_malformed(client, query):
    await refused(client.get(f"/generate?{query}"), 400)


@pytest.mark.parametrize(
    "query",
    ["class=1&seed=0", f"class=1&seed={BIG - 1}", "class=1&n=64", "class=1&index=2147483647", "class=1&temperature=0&class_temperature=4"],
)
async def test_values_at_their_bounds_are_taken(client, query):
    assert (await client.get(f"/generate?{query}")).status_code == 200


async def test_a_url_is_taken_at_its_cap_and_refused_one_byte_above(client):
    path = "/generate?class=1&model="
    at_cap = path + "x" * (4096 - len(path))
    await refused(client.get(at_cap), 422)  # read, and the name is too long
    await refused(client.get(at_cap + "x"), 414)
    await refused(client.get("/" + "x" * 60_000), 414)


async def test_headers_are_taken_at_their_cap_and_refused_one_byte_above(client):
    plain = client.build_request("GET", "/livez").headers.raw
    spent = sum(len(name) + len(value) + 4 for name, value in plain)
    room = 16 * 1024 - spent - len("x-long") - 4
    assert (await client.get("/livez", headers={"x-long": "a" * room})).status_code == 200
    await refused(client.get("/livez", headers={"x-long": "a" * (room + 1)}), 431)


# ------------------------------------------------------------------------------------------------------------------ JSON


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"class":1,"temperature":NaN}', 400),
        (b'{"class":1,"temperature":-Infinity}', 400),
        (b'{"class":1,"temperature":1e999}', 422),
        (b'{"class":"\\ud800"}', 422),
        (b'{"\\ud800":1}', 422),
        (b'{"class":1,"model":"\\udfff"}', 422),
        (b"[" * 100_000, 400),
        (b'{"class":' * 100_000, 400),
        (b'{"class":' + b"[" * 900 + b"]" * 900 + b"}", 422),
        (b'{"class":' + b"[" * 90_000 + b"]" * 90_000 + b"}", 422),
        (b'{"class":' + b"9" * 5000 + b"}", 400),
        (b'{"class":1,"seed":' + b"9" * 4000 + b"}", 422),
        (b'{"class":1,"seed":-' + b"9" * 4000 + b"}", 422),
        (b'{"class":1,"seed":' + b"9" * 4300 + b"}", 422),
        (b'{"class":1,"seed":' + b"9" * 4301 + b"}", 400),
        (b'{"class":[' + b",".join([b"9" * 4000] * 1000) + b"]}", 422),
        (b'{"class":1,"temperature":' + b"9" * 4000 + b"}", 422),
        (b'{"class":1,"class":1}', 400),
        (b'{"class":1} x', 400),
        (b'{"class":"\xff"}', 400),
        (b'\xef\xbb\xbf{"class":1}', 400),
        ('{"class":1}'.encode("utf-16"), 400),
        (b"null", 422),
        (b"[]", 422),
        (b"7", 422),
        (b" ", 400),
        (b"{}", 422),
        (b'{"class":null}', 422),
        (b'{"class":true}', 422),
        (b'{"class":1.0}', 422),
        (b'{"class":[1]}', 422),
        (b'{"class":1,"n":"2"}', 422),
        (b'{"class":1,"n":2.0}', 422),
        (b'{"class":1,"n":true}', 422),
        (b'{"class":1,"seed":"1"}', 422),
        (b'{"class":1,"seed":-1}', 422),
        (b'{"class":1,"temperature":"1"}', 422),
        (f'{{"class":1,"{MARK}":1}}'.encode(), 422),
        (json.dumps({"class": 1} | {f"{MARK}{k}": 1 for k in range(2000)}).encode(), 422),
    ],
)
async def test_json_that_is_refused(client, body, status):
    await refused(client.post("/generate", content=body, headers=TYPED), status)


@pytest.mark.parametrize(
    "items",
    [
        [],
        {},
        [{}] * 65,
        [[]],
        [{"z_s": ["x"] * 200_000, "z_u": [0, 0]}],
        [{"z_s": [0] * 100_000, "z_u": [0, 0]}],
        [{"z_s": [0, 0], "z_u": [0, 0]}],
        [{"z_s": [0, 0, 1e38], "z_u": [0, 0]}],
        [{"z_s": [0, 0, True], "z_u": [0, 0]}],
        [{"z_s": [0, 0, None], "z_u": [0, 0]}],
        [{"code": MARK}],
        [{"code": "c1." + "A" * 100_000}],
        [{"code": "c1.\ud800"}],
        [{"class": MARK, "seed": 1}],
        [{"class_weights": {MARK: 1.0}, "seed": 1}],
        [{"class_weights": {MARK: "a"}, "seed": 1}],
        [{"class_weights": {"0": 1e-320, "1": 1}, "seed": -1}],
        [{"class_weights": {str(k): 0 for k in range(1025)}, "seed": 1}],
        [{MARK: 1}],
        [{"class": 1, "seed": BIG}],
    ],
)
async def test_items_that_are_refused(client, items):
    await refused(client.post("/decode", content=json.dumps({"items": items}), headers=TYPED), 422)


@pytest.mark.parametrize("unit", ["0.12345", "{}", "[]", '""'])
async def test_a_body_of_nothing_but_values_is_refused_before_it_is_parsed(client, unit):
    body = '{"items":[' + ",".join([unit] * 1_000_000) + "]}"
    problem = await refused(client.post("/decode", content=body, headers=TYPED), 422)
    assert problem["allowed"] == "at most 1344 values"  # 64 items of 3 + 2 numbers and 16 other fields


@pytest.mark.parametrize(("values", "allowed"), [(1344, "a list of 1 to 64 items"), (1345, "at most 1344 values")])
async def test_values_are_counted_up_to_the_cap_and_refused_one_above(client, values, allowed):
    body = '{"items":[' + ",".join(["0"] * values) + "]" + " " * 64 * 1024 + "}"
    problem = await refused(client.post("/decode", content=body, headers=TYPED), 422)
    assert allowed in problem["allowed"]


async def test_the_longest_body_of_full_items_is_far_below_the_cap_on_values(client):
    item = {"z_s": [0.123456789] * 3, "z_u": [0.123456789] * 2, "index": 0}
    body = json.dumps({"items": [item] * 64, "format": "png", "model": "toy"}) + " " * 64 * 1024
    assert (await client.post("/decode", content=body, headers=TYPED)).status_code == 200


async def test_denormals_and_the_largest_codes_are_taken(client):
    items = [{"z_s": [1e-320, -1e-45, 10000], "z_u": [-10000, 0]}]
    assert (await client.post("/decode", json={"items": items})).status_code == 200


async def test_as_many_items_as_the_cap_are_taken(client):
    assert (await client.post("/decode", json={"items": [{"class": 1, "seed": k} for k in range(64)]})).status_code == 200


async def test_a_field_in_the_query_and_in_the_body_is_malformed(client):
    await refused(client.post("/generate?seed=1", json={"class": 1, "seed": 1}), 400)
    assert (await client.post("/generate?seed=1", json={"class": 1})).status_code == 200


async def test_a_get_takes_no_body(client):
    await refused(client.request("GET", "/generate?class=1", content=b"{}", headers=TYPED), 400)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", MARK])
async def test_json_routes_want_json(client, content_type):
    headers = {"content-type": content_type} if content_type else {}
    await refused(client.post("/generate", content=b'{"class":1}', headers=headers), 415)


async def test_a_compressed_body_is_unsupported_and_identity_is_fine(client):
    for encoding, status in (("gzip", 415), ("br", 415), ("identity, gzip", 415)):
        await refused(client.post("/generate", content=b'{"class":1}', headers=TYPED | {"content-encoding": encoding}), status)
    answer = await client.post("/generate", content=b'{"class":1}', headers=TYPED | {"content-encoding": "identity"})
    assert answer.status_code == 200


async def test_a_body_of_no_bytes_is_no_body_whatever_its_type(client):
    for content_type in ("application/json", "text/plain", "image/png"):
        answer = await client.post("/generate?class=1", content=b"", headers={"content-type": content_type, "content-encoding": "gzip"})
        assert answer.status_code == 200


async def test_a_body_is_taken_at_its_cap_and_refused_one_byte_above(client):
    cap = 8 * 2**20
    body = b'{"class":1' + b" " * (cap - 11) + b"}"
    assert len(body) == cap
    assert (await client.post("/generate", content=body, headers=TYPED)).status_code == 200
    problem = await refused(client.post("/generate", content=body + b" ", headers=TYPED), 413)
    assert str(cap) in problem["detail"]

    async def chunks():
        for _ in range(20):
            yield b" " * 2**20

    await refused(client.post("/generate", content=chunks(), headers=TYPED), 413)


# ---------------------------------------------------------------------------------------------------------------- base64


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 415),
        (MARK, 422),
        ("data:image/png;base64," + base64.b64encode(PNG).decode(), 422),
        (base64.encodebytes(PNG).decode(), 422),
        (base64.b64encode(PNG).decode().rstrip("=") + "===", 422),
        (base64.urlsafe_b64encode(b"\xfb\xff" * 30).decode(), 422),
        (base64.b64encode(PNG).decode()[:-1], 422),
        ("é" * 40, 422),
        ("\ud800", 422),
        ("A" * (4 * -(-4 * 2**20 // 3) + 4), 413),
        (base64.b64encode(b"GIF89a" + bytes(40)).decode(), 415),
        (7, 422),
        (None, 422),
    ],
    ids=lambda value: str(value)[:12].encode("ascii", "replace").decode(),
)
async def test_base64_that_is_refused(client, text, status):
    await refused(client.post("/encode", content=json.dumps({"images": [text]}), headers=TYPED), status)


# ------------------------------------------------------------------------------------------------------------- multipart

PART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="../../etc/passwd"\r\n\r\n' + PNG + b"\r\n"


async def test_a_file_name_is_never_read(client):
    answer = await client.post("/encode", content=PART + b"--b--\r\n", headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 200
    assert "passwd" not in answer.text


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("multipart/form-data", PART + b"--b--\r\n", 400),
        ("multipart/form-data; boundary=", PART + b"--b--\r\n", 400),
        ("multipart/form-data; boundary=other", PART + b"--b--\r\n", 400),
        ("multipart/form-data; boundary=" + "b" * 5000, PART + b"--b--\r\n", 400),
        ("multipart/form-data; boundary=b", PART, 400),
        ("multipart/form-data; boundary=b", PART[:60], 400),
        ("multipart/form-data; boundary=b", PART[:-40], 400),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 422),
        ("multipart/form-data; boundary=b", PART * 65 + b"--b--\r\n", 422),
        ("multipart/form-data; boundary=b", PART * 1500 + b"--b--\r\n", 422),
        ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"a" * 2**20 + b"\r\n\r\n\r\n--b--\r\n", 400),
        ("multipart/form-data; boundary=b", b"a" * 2**20 + PART + b"--b--\r\n", 400),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n", 400),
        ("multipart/form-data; boundary=b", PART.replace(b'"image"', b'"' + MARK.encode() + b'"') + b"--b--\r\n", 422),
        ("multipart/form-data; boundary=b", PART.replace(b'"image"', b'"images"') + b"--b--\r\n", 422),
        (
            "multipart/form-data; boundary=b",
            PART.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1) + b"--b--\r\n",
            415,
        ),
        ("multipart/form-data; boundary=b", PART + PART.replace(b'"image"', b'"model"') * 2 + b"--b--\r\n", 400),
        ("multipart/mixed; boundary=b", PART + b"--b--\r\n", 415),
    ],
)
async def test_multipart_that_is_refused(client, content_type, body, status):
    await refused(client.post("/encode", content=body, headers={"content-type": content_type}), status)


async def test_a_multipart_inside_a_part_is_no_picture(client):
    inner = PART.replace(PNG, PART.replace(b"--b", b"--c") + b"--c--")
    await refused(client.post("/encode", content=inner + b"--b--\r\n", headers={"content-type": "multipart/form-data; boundary=b"}), 415)


async def test_a_swap_needs_both_sides_and_counts_its_cells(client):
    picture = base64.b64encode(PNG).decode()
    await refused(client.post("/swap", files={"class_from": ("a", PNG)}), 422)
    await refused(client.post("/swap", json={"class_from": [picture], "style_from": []}), 422)
    await refused(client.post("/swap", json={"class_from": [picture] * 13, "style_from": [picture] * 5}), 422)
    await refused(client.post("/swap", json={"class_from": picture, "style_from": [picture]}), 422)
    await refused(client.post("/swap", content=PNG, headers={"content-type": "image/png"}), 415)
    assert (await client.post("/swap", json={"class_from": [picture] * 8, "style_from": [picture] * 8})).status_code == 200
    assert (await client.get("/swap")).status_code == 405


# -------------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x00" * 1024, 415),
        (b"GIF89a" + bytes(100), 415),
        (b"BM" + bytes(100), 415),
        (b"II*\x00" + bytes(100), 415),
        (b"%PDF-1.7", 415),
        (b"<svg/>", 415),
        (drawings.png_claiming(50_000, 50_000), 413),
        (drawings.png_claiming(1, 10**9), 413),
        (drawings.png_claiming(65_500, 1), 413),
        (drawings.png_claiming(0, 8), 422),
        (drawings.png_claiming(8, 8), 422),
        (drawings.jpeg_with_scans(200), 413),
        (drawings.jpeg()[:-200], 422),
        (drawings.frames("PNG"), 422),
        (drawings.frames("WEBP"), 422),
        (drawings.frames("GIF"), 415),
        (PNG[:-4], 422),
        (PNG + bytes(4 * 2**20), 413),
    ],
    ids=range(18),
)
async def test_pictures_that_are_refused(client, data, status):
    await refused(client.post("/encode", content=data, headers={"content-type": "image/png"}), status)


@pytest.mark.parametrize("declared", ["image/jpeg", "image/gif", "image/x-nonsense"])
async def test_the_content_decides_not_the_declared_type(client, declared):
    assert (await client.post("/encode", content=PNG, headers={"content-type": declared})).status_code == 200


@pytest.mark.parametrize("orientation", [0, 9, 65535, 6])
async def test_odd_orientations_do_no_harm(client, orientation):
    exif = drawings.Image.Exif()
    exif[0x0112] = orientation
    assert (await client.post("/encode", content=drawings.jpeg(exif=exif), headers={"content-type": "image/jpeg"})).status_code == 200


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's warning; the picture is read all the same
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*" + b"\xff" * 40, b"Exif\0\0II*\0\x08\0\0\0\xff\xff"])
async def test_nonsense_in_exif_does_no_harm(client, exif):
    assert (await client.post("/encode", content=drawings.jpeg(exif=exif), headers={"content-type": "image/jpeg"})).status_code == 200


@pytest.mark.parametrize("side", [1, 4096])
async def test_extreme_sides_within_the_caps_are_taken(client, side):
    answer = await client.post("/encode", content=drawings.png(side, 1), headers={"content-type": "image/png"})
    assert answer.status_code == 200


# --------------------------------------------------------------------------------------------------------------- inspect


def recipe_of(**changed):
    """A recipe of the toy model's picture, with some of it changed."""
    made_of = {"class": 1, "class_temperature": 1.0, "index": 0, "n": 1, "sampler": "fitted", "seed": 1, "temperature": 1.0}
    return json.dumps({"do": "generate", "twofold": 1, **made_of, **changed}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def carrying(text, width=8, height=8):
    return image_io.encode(np.zeros((height, width, 1), np.uint8), image_io.PNG, text)


def sheet_of(cells, rows, cols, **changed):
    return provenance.write_sheet([recipe_of(**changed)] * cells, rows, cols)


@pytest.mark.parametrize(
    ("picture", "status"),
    [
        (b"", 415),
        (b"GIF89a" + bytes(100), 415),
        (PNG[:-4], 422),
        (drawings.frames("PNG"), 422),
        (drawings.frames("WEBP"), 422),
        (carrying(MARK), 422),
        (carrying("{}"), 422),
        (carrying("[" * 100_000), 422),
        (carrying('{"a":' * 900 + "1" + "}" * 900), 422),
        (carrying('{"twofold":1,"a":NaN}'), 422),
        (carrying('{"a":1e999,"twofold":1}'), 422),
        (carrying('{"a":"\\udfff","twofold":1}'), 422),
        (carrying('{"a":1,"a":1,"twofold":1}'), 422),
        (carrying('{"a":' + "9" * 21 + ',"twofold":1}'), 422),
        (carrying('{"pictures":[' + ",".join(["{}"] * 300_000) + '],"rows":1,"cols":1,"twofold":1}'), 422),
        (carrying(sheet_of(1, 10**9, 10**9)), 422),
        (carrying(" " * (2**20 + 1)), 413),
        (PNG[:33] + drawings.chunk(b"iTXt", b"twofold\0\1\0\0\0" + zlib.compress(bytes(10**8))) + PNG[33:], 422),
        (carrying("{}")[:-12] + drawings.chunk(b"iTXt", b"twofold\0\0\0\0\0{}") + PNG[-12:], 422),
        (drawings.webp(xmp=b"<twofold:recipe>" + MARK.encode() + b"</twofold:recipe>"), 422),
        (drawings.webp(xmp=b"<twofold:recipe>&" + MARK.encode() + b";</twofold:recipe>"), 422),
    ],
    ids=range(21),
)
async def test_recipes_that_are_refused(client, picture, status):
    await refused(client.post("/inspect?verify=true", files={"image": ("a", picture)}), status)


async def test_a_recipe_at_its_cap_is_read_and_one_byte_above_is_refused(client):
    head = recipe_of(note="")
    room = 2**20 - len(head)
    for extra, status in ((0, 200), (1, 413)):
        picture = carrying(recipe_of(note="x" * (room + extra)))
        answer = await client.post("/inspect", content=picture, headers={"content-type": "image/png"})
        assert answer.status_code == status


async def test_a_sheet_of_as_many_cells_as_the_cap_is_verified(client):
    model = client.app.state.state.registry.get()
    sheet = carrying(sheet_of(64, 8, 8, model_hash=model.card.model_hash, provider=model.provider), 64, 64)
    answer = await client.post("/inspect?verify=true", content=sheet, headers={"content-type": "image/png"})
    assert (answer.status_code, answer.json()["verified"]) == (200, False)
    sheet = carrying(sheet_of(65, 8, 9, model_hash=model.card.model_hash, provider=model.provider), 72, 64)
    await refused(client.post("/inspect?verify=true", content=sheet, headers={"content-type": "image/png"}), 422)


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
async def test_a_recipe_of_nonsense_is_a_verdict_and_not_a_failure(client, changed):
    model = client.app.state.state.registry.get()
    picture = carrying(recipe_of(**{"model_hash": model.card.model_hash, **changed}))
    answer = await client.post("/inspect?verify=true", content=picture, headers={"content-type": "image/png"})
    assert (answer.status_code, answer.json()["verified"]) == (200, False)
    assert MARK not in str(answer.json()["notes"])


@pytest.mark.parametrize("made_by", [None, 1, MARK, "é" * 64, "A" * 64, [], {MARK: 1}, "c" * 64])
async def test_the_name_of_another_model_is_told_only_where_it_is_a_hash(client, made_by):
    picture = carrying(recipe_of(model_hash=made_by, do=[MARK]))
    answer = await client.post("/inspect?verify=true", content=picture, headers={"content-type": "image/png"})
    assert answer.json()["verified"] is None
    told = "cccccccc" if made_by == "c" * 64 else "unknown"
    assert f"made by model {told}," in answer.json()["notes"][0]


async def test_a_sheet_that_claims_to_be_larger_than_the_picture_is_not_made(client):
    model = client.app.state.state.registry.get()
    picture = carrying(sheet_of(64, 1, 65_535, model_hash=model.card.model_hash))
    answer = await client.post("/inspect?verify=true", content=picture, headers={"content-type": "image/png"})
    assert (answer.json()["verified"], answer.json()["max_difference"]) == (False, None)


async def test_inspect_takes_one_picture(client):
    text = base64.b64encode(PNG).decode()
    for body in ({}, {"image": [text]}, {"image": None}, {"image": 7}, {"image": text, "verify": 1}, {"image": text, MARK: 1}):
        await refused(client.post("/inspect", json=body), 422)
    await refused(client.post("/inspect", files=[("image", ("a", PNG)), ("image", ("b", PNG))]), 400)
    await refused(client.post("/inspect", params={"image": text}), 422)
    await refused(client.post("/inspect", files={"images": ("a", PNG)}), 422)
    await refused(client.post("/inspect", content=PNG, headers={"content-type": "application/octet-stream"}), 415)
    await refused(client.post("/inspect", content=PNG, headers={"content-type": "image/png", "accept": "image/png"}), 406)
    await refused(client.get("/inspect"), 405)


@pytest.mark.parametrize("known", ['"' * 15_000, '"a",' * 3_000, "W/" * 7_000, ",,,*"])
async def test_any_if_none_match_is_harmless(client, known):
    assert (await client.get("/generate?class=1&seed=1", headers={"if-none-match": known})).status_code == 200


async def test_routes_that_take_nothing_refuse_parameters(client):
    await refused(client.get(f"/models?{MARK}=1"), 400)
    await refused(client.get(f"/models/{MARK}"), 404)
    await refused(client.get(f"/{MARK}"), 404)
    await refused(client.get("/generate/?class=1"), 404)


# ---------------------------------------------------------------------------------------- /interpolate, /edit and /inpaint

SENT = base64.b64encode(PNG).decode()
HOLE = base64.b64encode(drawings.save(drawings.Image.linear_gradient("L"), "PNG")).decode()
BASES = {"interpolate": {"keys": [SENT, SENT]}, "edit": {"image": SENT}, "inpaint": {"image": SENT, "box": [0, 0, 4, 4]}}


@pytest.mark.parametrize(
    ("route", "fields"),
    [("interpolate", {"keys": keys}) for keys in ([], [SENT], [SENT] * 9, SENT, None, [SENT, None], [SENT, 7], [SENT, [SENT]], {"0": SENT})]
    + [("interpolate", {"keys": [SENT, {"class": label}]}) for label in (MARK, 4, True, 1.0)]
    + [("interpolate", {"keys": [SENT, key]}) for key in ({}, {"code": MARK}, {"seed": 1}, {"image": SENT}, {"class": 1, MARK: 1})]
    + [("interpolate", {"keys": [SENT, {"class": 1, "code": "c1.A"}]})]
    + [("interpolate", {"keys": [SENT, {"class": 1, "seed": seed}]}) for seed in (-1, BIG, "1", 1.0, True)]
    + [("interpolate", {"keys": [SENT, {"class": 1, "index": index}]}) for index in (-1, 2**31, "1")]
    + [("interpolate", {"frames": frames}) for frames in (0, 1, 65, -1, 10**10, "2", 2.0, True, None)]
    + [("interpolate", {"fps": fps}) for fps in (0, 61, "12", 12.0)]
    + [("interpolate", {"vary": MARK}), ("interpolate", {"vary": None}), ("interpolate", {"path": "Linear"}), ("interpolate", {"path": 1})]
    + [("interpolate", {"seed": BIG}), ("interpolate", {"animate": 1}), ("interpolate", {"verdict": "true"}), ("interpolate", {MARK: 1})]
    + [("edit", {"image": image}) for image in (None, 7, [SENT], {"code": "c1.A"}, MARK, "c1." + MARK)]
    + [("edit", {"class": label}) for label in (4, -1, MARK, True, 1.0, "", [1])]
    + [("edit", {"class": 1, "strength": strength}) for strength in (-0.001, 1.001, "1", None, True)]
    + [("edit", {"style_spread": spread}) for spread in (-0.001, 1.001, "1", None)]
    + [("edit", {"temperature": temperature}) for temperature in (-0.1, 4.01)]
    + [("edit", {"n": n}) for n in (0, 65, -1, 10**10, "2", 2.0)]
    + [("edit", {"index": 2**31 - 1, "n": 2}), ("edit", {"index": 2**31}), ("edit", {"seed": BIG}), ("edit", {"seed": -1})]
    + [("edit", {"directions": d}) for d in ({}, [], [1.0], "0:1", {"0": 4.001}, {"0": -4.001}, {"0": "1"}, {"0": None}, {MARK: 1})]
    + [("edit", {"directions": {str(k): 1 for k in range(9)}}), ("edit", {"format": "gif"}), ("edit", {"verdict": 1}), ("edit", {MARK: 1})]
    + [("inpaint", {"image": image}) for image in (None, 7, [SENT], MARK, "c1.A")]
    + [("inpaint", {"box": box}) for box in ([], [0, 0, 4], [0, 0, 4, 4, 4], [0, 0, 9, 1], [0, 0, 1, 9], [8, 0, 1, 1], [0, 0, 0, 1])]
    + [("inpaint", {"box": box}) for box in ([-1, 0, 2, 2], [0, 0, 8, 8], [0, 0, 2.0, 2], [0, 0, "2", 2], "0,0,2,2", [0, 0, 10**19, 1], {})]
    + [("inpaint", {"box": None}), ("inpaint", {"mask": HOLE}), ("inpaint", {"box": None, "mask": SENT}), ("inpaint", {MARK: 1})]
    + [("inpaint", {"box": None, "mask": mask}) for mask in (7, [HOLE], MARK, "c1.A", "data:image/png;base64," + HOLE)]
    + [("inpaint", {"steps": steps}) for steps in (0, 33, -1, "8", 8.0, True)],
)  # fmt: skip
async def test_a_control_that_is_not_acceptable(client, route, fields):
    await refused(client.post(f"/{route}", content=json.dumps(BASES[route] | fields), headers=TYPED), 422)


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


async def test_weights_of_directions_are_taken_at_their_bounds(open_door, tmp_path):
    model = load(toy.make_bundle(tmp_path / "toy", directions=toy.DIRECTIONS), Settings())
    client = await open_door(model)
    assert (await client.post("/edit", json={"image": SENT, "directions": {"0": -4, "1": 4}})).status_code == 200
    await refused(client.post("/edit", json={"image": SENT, "directions": {"0": -4, "1": 4.001}}), 422)


@pytest.mark.parametrize("name", ["frames", "n"])
async def test_the_cap_on_pictures_counts_frames_and_edits(open_door, name):
    client = await open_door(max_items=5)
    route = "interpolate" if name == "frames" else "edit"
    assert (await client.post(f"/{route}", json=BASES[route] | {name: 5})).status_code == 200
    problem = await refused(client.post(f"/{route}", json=BASES[route] | {name: 6}), 422)
    assert (problem["field"], problem["allowed"]) == (name, "at most 5")


@pytest.mark.parametrize(
    ("route", "query", "status"),
    [("interpolate", "keys=c1.A", 422), ("edit", "image=c1.A", 422), ("inpaint", "mask=x", 422), ("inpaint", "image=x", 422)]
    + [("interpolate", f"frames={frames}", 422) for frames in ("%2B2", "2.0", "02", "٧", "")]
    + [("edit", f"directions={text}", 422) for text in ("", "0:1,0:1", "0:nan", "0", "0:1," * 1000)]
    + [("inpaint", f"box={text}", 422) for text in ("0,0,2", "0,0,2,2,", "0, 0,2,2", "0,0,2,2.0", "1," * 1000)]
    + [("inpaint", "box=0,0,2,2&box=0,0,2,2", 400), ("edit", "n=2&n=2", 400), ("edit", f"{MARK}=1", 422)],
)
async def test_a_control_in_the_query_that_is_refused(client, route, query, status):
    body = {key: value for key, value in BASES[route].items() if key != "box"}
    await refused(client.post(f"/{route}?{query}", json=body), status)


async def test_a_control_in_query_and_body_is_malformed(client):
    await refused(client.post("/inpaint?box=0,0,4,4", json=BASES["inpaint"]), 400)
    await refused(client.post("/edit?class=1", json={"image": SENT, "class": 1}), 400)


@pytest.mark.parametrize(
    ("route", "parts", "status"),
    [
        ("edit", [("image", PNG), ("image", PNG)], 400),
        ("edit", [("image", PNG), ("n", b"2"), ("n", b"2")], 400),
        ("edit", [("class", b"1")], 422),
        ("edit", [("image", PNG), ("directions", b"0:1," * 100_000)], 422),
        ("inpaint", [("image", PNG), ("mask", PNG), ("mask", PNG)], 400),
        ("inpaint", [("image", PNG), ("mask", PNG), ("box", b"0,0,2,2")], 422),
        ("inpaint", [("image", PNG), ("box", b"1," * 2**20)], 422),
        ("inpaint", [("image", b"c1.A"), ("box", b"0,0,2,2")], 422),
        ("inpaint", [("image", PNG), ("mask", b"GIF89a" + bytes(40))], 415),
        ("inpaint", [("image", PNG), ("mask", drawings.png_claiming(50_000, 50_000))], 413),
        ("inpaint", [("image", PNG), ("mask", PNG[:-4])], 422),
        ("interpolate", [("key", PNG)], 422),
        ("interpolate", [("key", PNG)] * 9, 422),
        ("interpolate", [("key", PNG), ("key", b"c1.A")], 422),
        ("interpolate", [("keys", PNG), ("keys", PNG)], 422),
    ],
)
async def test_parts_of_a_control_that_are_refused(client, route, parts, status):
    await refused(client.post(f"/{route}", files=[(name, ("a", data)) for name, data in parts]), status)


@pytest.mark.parametrize("route", BASES)
async def test_the_controls_are_posts_with_a_body(client, route):
    assert (await client.get(f"/{route}")).status_code == 405
    await refused(client.post(f"/{route}"), 422)
    await refused(client.post(f"/{route}", content=b"{}", headers={"content-type": "text/plain"}), 415)
    await refused(client.post(f"/{route}", json=BASES[route], headers={"accept": "text/html"}), 406)
    await refused(client.post(f"/{route}", json=BASES[route] | {"model": "none"}), 404)


async def test_a_raw_picture_is_taken_by_the_route_of_one_picture_alone(client):
    typed = {"content-type": "image/png"}
    assert (await client.post("/edit", content=PNG, headers=typed)).status_code == 200
    await refused(client.post("/inpaint?box=0,0,4,4", content=PNG, headers=typed), 415)
    await refused(client.post("/interpolate", content=PNG, headers=typed), 422)
