"""The one validator: query text becomes the same request as JSON, or the same refusal in our own words; answers are as documented."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import drawings
from tests.toy import make_bundle
from twofold.service.http import schemas
from twofold.service.http.schemas import Decode, Edit, Generate, Inpaint, Interpolate, Swap
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.registry import load
from twofold.service.settings import Settings

PICTURE = base64.b64encode(drawings.png()).decode()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("n", "7", 7),
        ("class", "7", "7"),
        ("temperature", "0.5", 0.5),
        ("temperature", "1e0", 1.0),
        ("model", "toy", "toy"),
        ("seed", "0", 0),
    ],
)
def test_text_becomes_the_value_of_its_field(name, text, value):
    assert Generate.value(name, text) == value


@pytest.mark.parametrize(("text", "value"), [("0,1,2,3", [0, 1, 2, 3]), ("7", [7]), ("-1,2", [-1, 2])])
def test_numbers_are_listed_with_commas(text, value):
    assert Inpaint.value("box", text) == value


@pytest.mark.parametrize(("text", "value"), [("0:1", {"0": 1.0}), ("0:1.5,2:-1e0", {"0": 1.5, "2": -1.0}), ("a:b:1", {"a:b": 1.0})])
def test_weights_are_listed_with_colons(text, value):
    assert Edit.value("directions", text) == value


@pytest.mark.parametrize("text", ["", ",", "1,", ",1", "1, 2", "1.0,2", "a", "1;2", "٧,1", "1," * 200 + "1"])
def test_a_list_that_is_not_written_so_is_refused(text):
    with pytest.raises(Invalid) as caught:
        Inpaint.value("box", text)
    assert caught.value.field == "box"


@pytest.mark.parametrize("text", ["", "0:", "0:x", "0:1,0:2", "0:1,", "0=1", '{"0":1}', "0:nan", "0:1," * 100 + "1:1"])
def test_a_mapping_that_is_not_written_so_is_refused(text):
    with pytest.raises(Invalid) as caught:
        Edit.value("directions", text)
    assert caught.value.field == "directions"


def test_a_key_of_a_way_is_refused_by_its_own_field():
    for wrong, field in (({"class": True}, "keys.1.class"), ({"class": 1, "seed": -1}, "keys.1.seed"), ({"a": 1}, "keys.1"), (7, "keys.1")):
        with pytest.raises(Invalid) as caught:
            Interpolate.check({"keys": ["c1.x", wrong]})
        assert caught.value.field == field


def test_true_and_false_are_the_only_truths():
    assert Swap.value("verdict", "true") is True
    assert Swap.value("verdict", "false") is False
    with pytest.raises(Invalid):
        Swap.value("verdict", "1")


@pytest.mark.parametrize(("kind", "name"), [(Edit, "image"), (Inpaint, "mask"), (Interpolate, "keys"), (Swap, "class_from")])
def test_a_picture_is_not_written_in_a_query(kind, name):
    with pytest.raises(Invalid, match=f"{name} goes into the body"):
        kind.value(name, "c1.x")


def test_a_field_that_has_no_text_goes_into_the_body():
    with pytest.raises(Invalid, match="items goes into the body"):
        Decode.value("items", "[]")


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_a_refusal_of_ours(text):
    for name in Generate.in_query:
        try:
            Generate.check({"class": 1} | {name: Generate.value(name, text)})
        except Invalid as error:
            assert error.field == name  # noqa: PT017 (one of two outcomes)


@given(st.sampled_from(sorted(Generate.names)), json_values)
def test_any_json_value_is_accepted_or_refused_by_its_field(name, value):
    try:
        Generate.check({"class": 1} | {name: value})
    except Invalid as error:
        assert error.field == name  # noqa: PT017 (one of two outcomes)


@given(json_values)
def test_any_items_are_accepted_or_refused_without_repeating_them(value):
    try:
        Decode.check({"items": [{"class_weights": {"Zebra77": value}}]})
    except Invalid as error:
        assert "Zebra77" not in f"{error.detail}{error.field}{error.allowed}"  # noqa: PT017 (one of two outcomes)


def test_a_missing_field_is_called_required():
    with pytest.raises(Invalid, match="class is required"):
        Generate.check({})


CODES = {"items": [{"class": 1, "seed": 3}, {"class_weights": {"0": 0.5, "1": 0.5}, "seed": 2}]}
ANSWERS = [
    ("POST /generate", {"class": 1, "n": 2, "seed": 1}, schemas.ImagesAnswer),
    ("POST /decode", CODES, schemas.ImagesAnswer),
    ("POST /swap", {"class_from": [PICTURE], "style_from": [PICTURE] * 2, "verdict": True}, schemas.ImagesAnswer),
    ("POST /interpolate", {"keys": [PICTURE, {"class": 1}], "frames": 3, "verdict": True}, schemas.ImagesAnswer),
    ("POST /edit", {"image": PICTURE, "class": 2, "style_spread": 0.5, "n": 2, "verdict": True}, schemas.ImagesAnswer),
    ("POST /inpaint", {"image": PICTURE, "box": [1, 2, 3, 4]}, schemas.ImagesAnswer),
    ("POST /encode", {"images": [PICTURE]}, schemas.EncodeAnswer),
    ("POST /inspect", {"image": PICTURE, "verify": True}, schemas.InspectAnswer),
    ("GET /models", None, schemas.ModelsAnswer),
    ("GET /v2", None, schemas.ServerMetadata),
    ("GET /v2/health/live", None, schemas.Live),
    ("GET /v2/models/toy.decoder", None, schemas.ModelMetadata),
    ("GET /v2/models/toy.decoder/ready", None, schemas.Ready),
    ("GET /nowhere", None, schemas.Problem),
]


@pytest.mark.parametrize(("route", "body", "model"), ANSWERS, ids=[route for route, _, _ in ANSWERS])
async def test_an_answer_has_the_documented_members_and_no_others(client, route, body, model):
    method, path = route.split(" ")
    answer = await client.request(method, path, json=body, headers={"accept": "application/json"})
    assert answer.status_code == (404 if model is schemas.Problem else 200), answer.text
    model.model_validate(answer.json(), strict=True, extra="forbid")


@pytest.mark.parametrize(("route", "body", "model"), ANSWERS[2:5], ids=[route for route, _, _ in ANSWERS[2:5]])
async def test_a_verdict_of_an_evaluation_classifier_has_the_documented_members(open_client, tmp_path, route, body, model):
    client = await open_client(load(make_bundle(tmp_path / "toy", eval_classifier=True), Settings()))
    answer = await client.post(route.removeprefix("POST "), json=body, headers={"accept": "application/json"})
    model.model_validate(answer.json(), strict=True, extra="forbid")
    assert "evaluation classifier" in answer.text
