"""The routes on the toy bundle: shapes of answers, seeds, tokens, notes, negotiation, headers."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests import drawings
from tests.toy import make_bundle
from twofold import __version__
from twofold.service.client import Local
from twofold.service.runtime.registry import load
from twofold.service.settings import Settings

JSON = {"accept": "application/json"}


def level(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def unpack(image: dict) -> np.ndarray:
    return level(base64.b64decode(image["image"]))


async def ok(request):
    answer = await request
    assert answer.status_code == 200, answer.text
    return answer


async def test_generate_answers_with_the_picture_of_its_class_and_seed(client, toy_bundle):
    answer = await ok(client.get("/generate?class=1&seed=5"))
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(level(answer.content), Local(toy_bundle).arrays.generate(1, 1, 5)[0, :, :, 0])


async def test_every_answer_names_its_request_its_model_and_its_times(client):
    answer = await ok(client.get("/generate?class=1&seed=5", headers={"x-request-id": "mine-1"}))
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-model"].startswith("toy@")
    assert answer.headers["x-seed"] == "5"
    assert answer.headers["vary"] == "Accept"
    assert answer.headers["cache-control"] == "no-cache"
    stages = [stage.partition(";")[0] for stage in answer.headers["server-timing"].split(", ")]
    assert stages == ["queue", "model", "encode", "total"]


@pytest.mark.parametrize("forged", ["a b", "x" * 65, "é", "a\tb", ""])
async def test_a_request_id_of_another_form_is_replaced(client, forged):
    answer = await client.get("/livez", headers={"x-request-id": forged.encode()})
    assert answer.headers["x-request-id"] != forged
    assert len(answer.headers["x-request-id"]) == 16


async def test_without_a_seed_a_random_one_is_returned_and_not_stored(client):
    answer = await ok(client.get("/generate?class=1"))
    assert answer.headers["cache-control"] == "no-store"
    seed = int(answer.headers["x-seed"])
    assert seed < 2**32
    assert (await ok(client.get(f"/generate?class=1&seed={seed}"))).content == answer.content


async def test_json_gives_pictures_with_class_seed_index_code_and_times(client):
    answer = (await ok(client.post("/generate", json={"class": "beta", "n": 3, "seed": 1, "index": 4}, headers=JSON))).json()
    assert answer["model"].startswith("toy@")
    assert [image["index"] for image in answer["images"]] == [4, 5, 6]
    assert {image["seed"] for image in answer["images"]} == {1}
    assert answer["images"][0]["class"] == {"index": 1, "name": "Beta"}
    assert set(answer["timings_ms"]) == {"queue", "preprocess", "model", "encode"}
    codes = [{"code": image["code"]} for image in answer["images"]]
    decoded = (await ok(client.post("/decode", json={"items": codes}, headers=JSON))).json()
    for made, again in zip(answer["images"], decoded["images"], strict=True):
        assert np.array_equal(unpack(made), unpack(again))


@pytest.mark.parametrize("spelling", ["1", "Beta", "bETA", "b", "name:Beta"])
async def test_a_class_can_be_spelt_in_four_ways(client, spelling):
    expected = await ok(client.get("/generate?class=1&seed=5"))
    assert (await ok(client.get("/generate", params={"class": spelling, "seed": 5}))).content == expected.content


async def test_several_pictures_are_one_sheet(client):
    answer = await ok(client.get("/generate?class=1&seed=5&n=7"))
    assert answer.headers["x-sheet"] == "rows=2; cols=4; cell=8x8"
    sheet = level(answer.content)
    assert sheet.shape == (16, 32)
    third = await ok(client.get("/generate?class=1&seed=5&index=2"))
    assert np.array_equal(sheet[:8, 16:24], level(third.content))
    assert (sheet[8:, 24:] == 255).all()


async def test_a_webp_holds_the_same_pixels_as_the_png(client):
    png = await ok(client.get("/generate?class=1&seed=5"))
    webp = await ok(client.get("/generate?class=1&seed=5", headers={"accept": "image/webp"}))
    assert webp.headers["content-type"] == "image/webp"
    assert np.array_equal(level(webp.content)[:, :, 0], level(png.content))
    inside = (await ok(client.post("/generate?class=1&seed=5&format=webp", headers=JSON))).json()
    assert base64.b64decode(inside["images"][0]["image"]) == webp.content


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("application/json", "application/json"),
        ("text/html, */*;q=0.1", "image/png"),
        ("image/png;q=0.2, image/webp;q=0.9", "image/webp"),
        ("image/png;q=0, */*", "image/webp"),
        ("APPLICATION/JSON", "application/json"),
        ("application/*", "application/json"),
        ("application/zip", "application/zip"),
        ("application/x-npz, application/zip;q=0.5", "application/x-npz"),
    ],
)
async def test_accept_decides_the_form_of_the_answer(client, accept, media):
    answer = await ok(client.post("/generate?class=1&seed=5", headers={"accept": accept}))
    assert answer.headers["content-type"] == media


@pytest.mark.parametrize("accept", ["text/html", "image/gif", "image/png;q=0", "image/png;q=x", ";;;", "application/gzip"])
async def test_an_accept_that_nothing_fits_is_refused(client, accept):
    answer = await client.post("/generate?class=1&seed=5", headers={"accept": accept})
    assert answer.status_code == 406
    assert answer.json()["allowed"] == "image/png, image/webp, application/json, application/zip, application/x-npz"


async def test_the_get_twin_makes_pictures_only(client):
    for media in ("application/json", "application/zip", "application/x-npz"):
        assert (await client.get("/generate?class=1", headers={"accept": media})).status_code == 406


async def test_encode_takes_three_kinds_of_body_and_gives_the_same(client):
    picture = (await ok(client.get("/generate?class=2&seed=5"))).content
    answers = [
        await ok(client.post("/encode", files={"image": ("whatever", picture)})),
        await ok(client.post("/encode", content=picture, headers={"content-type": "image/png"})),
        await ok(client.post("/encode", json={"images": [base64.b64encode(picture).decode()]})),
    ]
    (item,) = answers[0].json()["items"]
    assert item["class"]["index"] == 2
    assert item["class"]["prob"] == pytest.approx(max(item["class_probs"]))
    assert sum(item["class_probs"]) == pytest.approx(1, abs=1e-5)
    assert (len(item["z_s"]), len(item["z_u"]), len(item["z_u_log_var"])) == (3, 2, 2)
    assert 0 <= item["typicality"] <= 1
    assert all(answer.json()["items"] == [item] for answer in answers)
    assert all(answer.headers["cache-control"] == "no-store" for answer in answers)


async def test_notes_say_what_was_done_to_a_picture(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    items = [drawings.jpeg(exif=exif), drawings.png(8, 8)]
    answer = await ok(client.post("/encode", files=[("image", ("a", data)) for data in items]))
    noted = [item["notes"] for item in answer.json()["items"]]
    assert noted == [["rotated by EXIF", "converted to grey", "24x20 cropped to 8x8"], []]


async def test_a_bundle_without_calibration_has_no_typicality(open_client, toy_bundle):
    from twofold.service.runtime.registry import load
    from twofold.service.settings import Settings

    model = load(toy_bundle, Settings())
    model.calibration = None
    client = await open_client(model)
    answer = await ok(client.post("/encode", files={"image": ("a", drawings.png())}))
    assert answer.json()["items"][0]["typicality"] is None


async def test_decode_understands_every_way_to_give_class_and_style(client, toy_bundle):
    prior = Local(toy_bundle).arrays.prior
    mean = prior.fit_means[1].tolist()
    items = [
        {"class": 1, "z_u": [0.5, -0.5]},
        {"z_s": mean, "z_u": [0.5, -0.5]},
        {"class_weights": {"Beta": 1.0}, "z_u": [0.5, -0.5]},
        {"class": 1, "seed": 3, "index": 2},
        {"z_s": mean, "seed": 3},
        {"class_weights": {"0": 0.5, "beta": 0.5}, "seed": 3},
    ]
    images = (await ok(client.post("/decode", json={"items": items}, headers=JSON))).json()["images"]
    assert np.array_equal(unpack(images[0]), unpack(images[1]))
    assert np.array_equal(unpack(images[0]), unpack(images[2]))
    generated = await ok(client.get("/generate?class=1&seed=3&index=2"))
    assert np.array_equal(unpack(images[3]), level(generated.content))
    assert images[3]["class"] == {"index": 1, "name": "Beta"}
    assert (images[3]["seed"], images[3]["index"]) == (3, 2)
    assert images[1]["class"] is None


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({}, "items.0"),
        ({"class": 1}, "items.0"),
        ({"z_u": [0, 0]}, "items.0"),
        ({"class": 1, "z_s": [0, 0, 0], "seed": 1}, "items.0"),
        ({"class": 1, "z_u": [0]}, "items.0.z_u"),
        ({"class": 1, "z_u": [0, 0, 0]}, "items.0.z_u"),
        ({"z_s": [], "seed": 1}, "items.0.z_s"),
        ({"z_s": [0, 0, 10001], "seed": 1}, "items.0.z_s.2"),
        ({"class": 9, "seed": 1}, "items.0.class"),
        ({"class_weights": {"0": 0.5, "1": 0.4}, "seed": 1}, "items.0.class_weights"),
        ({"class_weights": {"0": 0.5, "Alpha": 0.5}, "seed": 1}, "items.0.class_weights"),
        ({"class_weights": {}, "seed": 1}, "items.0.class_weights"),
        ({"code": "c1.x"}, "items.0.code"),
    ],
)
async def test_an_item_that_makes_no_picture_is_refused_by_its_field(client, item, field):
    answer = await client.post("/decode", json={"items": [item]})
    assert (answer.status_code, answer.json().get("field")) == (422, field)


async def test_a_code_with_a_style_beside_it_is_refused(client):
    code = (await ok(client.post("/generate?class=1&seed=1", headers=JSON))).json()["images"][0]["code"]
    answer = await client.post("/decode", json={"items": [{"code": code, "seed": 1}]})
    assert (answer.status_code, answer.json()["field"]) == (422, "items.0")


async def test_another_models_token_is_refused_naming_both(client, open_client, tmp_path):
    from tests.toy import make_bundle
    from twofold.service.runtime.registry import load
    from twofold.service.settings import Settings

    other = await open_client(load(make_bundle(tmp_path / "other", seed=1), Settings()))
    made = (await ok(other.post("/generate?class=1&seed=1", headers=JSON))).json()
    answer = await client.post("/swap", json={"class_from": [made["images"][0]["code"]], "style_from": ["c1.x"]})
    assert answer.status_code == 422
    ours = (await client.get("/livez")).headers["x-model"].partition("@")[2]
    assert made["model"].partition("@")[2] in answer.json()["detail"]
    assert ours in answer.json()["detail"]


async def test_one_pair_swapped_is_the_picture_itself(client, toy_bundle):
    local = Local(toy_bundle).arrays
    shoe, bag = (local.generate(label, 1, seed) for label, seed in ((0, 1), (1, 2)))
    files = {"class_from": ("a", drawings.save(Image.fromarray(shoe[0, :, :, 0]), "PNG"))}
    files["style_from"] = ("b", drawings.save(Image.fromarray(bag[0, :, :, 0]), "PNG"))
    answer = await ok(client.post("/swap", files=files))
    assert "x-sheet" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert np.array_equal(level(answer.content), local.swap(shoe, bag)[0, :, :, 0])


async def test_several_swapped_make_a_matrix_with_class_by_row_and_style_by_column(client):
    made = (await ok(client.post("/generate", json={"class": 0, "n": 2, "seed": 1}, headers=JSON))).json()["images"]
    made += (await ok(client.post("/generate", json={"class": 1, "n": 1, "seed": 2}, headers=JSON))).json()["images"]
    body = {"class_from": [made[0]["image"], made[2]["code"]], "style_from": [image["code"] for image in made], "verdict": True}
    answer = (await ok(client.post("/swap", json=body, headers=JSON))).json()
    assert (answer["rows"], answer["cols"]) == (2, 3)
    assert [(image["row"], image["col"]) for image in answer["images"]] == [(r, c) for r in range(2) for c in range(3)]
    for image in answer["images"]:
        assert image["verdict"]["class"]["index"] == image["row"]
        assert image["verdict"]["kept"] is True
    sheet = await ok(client.post("/swap", json=body))
    assert sheet.headers["x-sheet"] == "rows=2; cols=3; cell=8x8"
    assert np.array_equal(level(sheet.content)[8:, 16:], unpack(answer["images"][5]))


async def test_a_lost_class_is_called_lost(client):
    far = {"items": [{"z_s": [0.2, 0.1, 0], "z_u": [0, 0]}, {"class": 0, "z_u": [30, 30]}]}
    made = (await ok(client.post("/decode", json=far, headers=JSON))).json()["images"]
    body = {"class_from": [made[0]["code"]], "style_from": [made[1]["code"]], "verdict": True}
    (image,) = (await ok(client.post("/swap", json=body, headers=JSON))).json()["images"]
    read = (await ok(client.post("/encode", json={"images": [image["image"]]}))).json()["items"][0]["class"]
    assert read["index"] != 0
    assert image["verdict"]["class"]["index"] == read["index"]
    assert image["verdict"]["kept"] is False


async def test_verdicts_come_from_the_evaluation_classifier_and_say_so(client, open_client, tmp_path):
    model = load(make_bundle(tmp_path / "toy", eval_classifier=True), Settings())
    classified = await open_client(model)
    code = (await ok(client.post("/generate?class=1&seed=5", headers=JSON))).json()["images"][0]["code"]
    bodies = {
        "/swap": {"class_from": [code], "style_from": [code], "verdict": True},
        "/edit": {"image": code, "verdict": True},
        "/interpolate": {"keys": [code, code], "frames": 2, "verdict": True},
    }
    for path, body in bodies.items():
        plain, (image, *_) = [(await ok(each.post(path, json=body, headers=JSON))).json()["images"] for each in (client, classified)]
        assert image["image"] == plain[0]["image"]
        if path == "/interpolate":
            assert image["class_probs_by"] == "evaluation classifier"
            assert np.argmax(image["class_probs"]) == 2  # the class after the encoder's
            assert "class_probs_by" not in plain[0]
        else:
            assert image["verdict"] == {
                "class": {"index": 2, "name": "Gamma", "prob": image["verdict"]["class"]["prob"]},
                "kept": False,
                "by": "evaluation classifier",
            }
            assert "by" not in plain[0]["verdict"]
    assert (await ok(classified.get("/models/toy"))).json()["classified_by"] == "evaluation classifier"
    assert "classified_by" not in (await ok(client.get("/models/toy"))).json()


async def test_multipart_takes_tokens_and_fields_beside_pictures(client):
    code = (await ok(client.post("/generate?class=1&seed=1", headers=JSON))).json()["images"][0]["code"]
    files = [("class_from", ("a", drawings.png())), ("style_from", ("", code)), ("verdict", ("", "true"))]
    answer = await ok(client.post("/swap?format=webp", files=files, headers=JSON))
    (image,) = answer.json()["images"]
    assert image["verdict"]
    assert base64.b64decode(image["image"])[8:12] == b"WEBP"


async def test_the_models_are_listed_with_their_cards_classes_and_examples(client):
    listed = (await ok(client.get("/models"))).json()
    assert (listed["default"], [model["name"] for model in listed["models"]]) == ("toy", ["toy"])
    card = (await ok(client.get("/models/toy"))).json()
    assert card["class_names"] == ["Alpha", "Beta", "Gamma", "Gamut"]
    assert card["data"]["licence"] == "Apache-2.0"
    classes = (await ok(client.get("/models/toy/classes"))).json()["classes"]
    assert classes[3] == {"index": 3, "name": "Gamut", "weight": 0.25}
    assert (await ok(client.get("/models/toy/examples"))).json() == []
    assert (await client.get("/models/none")).status_code == 404
    assert (await client.get("/generate?class=1&model=none")).status_code == 404


async def test_the_probes_answer_for_machines(client):
    assert (await ok(client.get("/livez"))).json() == {"status": "alive"}
    assert (await ok(client.get("/readyz"))).json()["status"] == "ready"
    assert (await ok(client.get("/version"))).json()["service"] == __version__
    await client.get("/generate?class=9")
    text = (await ok(client.get("/metrics"))).text
    assert 'twofold_requests_total{code="422",route="/generate"} 1.0' in text
    assert 'twofold_rejected_total{reason="invalid"} 1.0' in text
    assert 'model="toy"' in text


async def test_a_draining_server_is_unready_alive_and_closes_connections(client):
    client.app.state.state.draining = True
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["code"], answer.headers["connection"]) == (503, "draining", "close")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await ok(client.get("/livez"))).headers["connection"] == "close"


async def test_the_pages_come_under_a_strict_policy(client):
    for path in ("/", "/docs", "/web/app.js", "/web/style.css", "/web/swagger-ui-bundle.js"):
        answer = await ok(client.get(path))
        assert "default-src 'self'; img-src 'self' blob: data:;" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("/web/README.md", "/web/..%2fapp.py", "/web/", "/web/swagger-ui/swagger-ui.css"):
        assert (await client.get(path)).status_code == 404


async def test_a_wrong_method_names_all_that_the_path_takes(client):
    answer = await client.delete("/generate")
    assert (answer.status_code, answer.headers["allow"], answer.json()["code"]) == (405, "GET, POST", "method_not_allowed")


async def test_the_recipe_can_be_switched_off(open_client):
    client = await open_client(recipe=False)
    assert b"iTXt" not in (await ok(client.get("/generate?class=1&seed=5"))).content
    assert b"iTXt" not in (await ok(client.get("/generate?class=1&seed=5&n=2"))).content


async def test_the_recipe_of_a_sheet_holds_those_of_its_cells(client):
    sheet = Image.open(io.BytesIO((await ok(client.get("/generate?class=1&seed=5&n=2"))).content)).text["twofold"]
    alone = Image.open(io.BytesIO((await ok(client.get("/generate?class=1&seed=5&index=1"))).content)).text["twofold"]
    assert json.loads(sheet)["pictures"][1] == json.loads(alone)
    assert json.loads(alone)["index"] == 1
    assert json.loads(alone)["class"] == 1
