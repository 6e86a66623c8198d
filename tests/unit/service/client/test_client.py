"""The clients: one interface at three doors, results that are the service's own bytes, errors with a class, patience with an end."""

from __future__ import annotations

import inspect
import json
import threading
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest

from tests import toy
from tests.serving import serving
from twofold.service.client import AsyncClient, Client, Local, Picture, Unreachable, calls
from twofold.service.client.local import InProcess
from twofold.service.http.problems import STATUS
from twofold.service.runtime import errors
from twofold.service.settings import Settings

GREY = {"class": {"index": 0, "name": "Alpha"}, "code": "c1.x", "image": ""}


@pytest.fixture(scope="module")
def local(toy_bundle):
    with Local(toy_bundle) as client:
        yield client


@pytest.fixture(scope="module")
def shoes(local):
    return local.generate("alpha", n=3, seed=5)


@pytest.fixture(scope="module")
def served(toy_bundle):
    """What a server process answers, byte for byte."""
    with serving(toy_bundle) as running:
        yield lambda path, accept="image/png": httpx.get(running.url + path, headers={"accept": accept}).raise_for_status().content


class Desk:
    """A server made of prepared answers; it remembers what was asked of it and how long the client slept in between."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[dict] = []
        self.slept: list[float] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(request.content or b"{}"))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, **settings) -> Client:
        return Client("http://desk", transport=httpx.MockTransport(self.answer), sleep=self.slept.append, **settings)


def problem(status: int, code: str, **fields) -> httpx.Response:
    headers = {"retry-after": fields.pop("retry_after")} if "retry_after" in fields else {}
    message = {"title": "", "status": status, "code": code, "detail": "No.", "request_id": "r1", **fields}
    return httpx.Response(status, json=message, headers={"content-type": "application/problem+json", **headers})


def no_models(**limits: int) -> httpx.Response:
    return httpx.Response(200, json={"default": "toy", "models": [], "limits": {"max_items": 64, "max_body_bytes": 2**23} | limits})


# -------------------------------------------------------------------------------------------------------------- pictures


def test_a_picture_has_the_bytes_the_server_answers_with(local, served):
    (picture,) = local.generate("beta", seed=7, index=2)
    assert picture.data == served("/generate?class=1&seed=7&index=2")
    assert (picture.seed, picture.index, picture.class_.name) == (7, 2, "Beta")
    assert picture.recipe["do"] == "generate"
    assert picture.code.startswith("c1.")


def test_a_sheet_has_the_bytes_the_server_answers_with(local, served):
    for n, form in ((4, "png"), (5, "png"), (5, "webp")):
        sheet = local.generate(0, n=n, seed=1, format=form).sheet()
        assert sheet.data == served(f"/generate?class=0&n={n}&seed=1", f"image/{form}")


def test_pictures_are_a_list_an_array_and_a_sheet(shoes):
    assert len(shoes) == 3
    assert [picture.index for picture in shoes] == [0, 1, 2]
    assert np.asarray(shoes).shape == (3, 8, 8, 1)
    assert np.array_equal(np.asarray(shoes[1]), np.asarray(shoes[1].image)[:, :, None])
    assert shoes._repr_png_().startswith(b"\x89PNG")
    assert (shoes.seed, shoes.model.partition("@")[0]) == (5, "toy")
    assert [picture.seed for picture in shoes[:2]] == [5, 5]
    assert repr(shoes[0]) == "Picture(class={'index': 0, 'name': 'Alpha'}, seed=5, index=0)"


@pytest.mark.parametrize("name", ["picture.png", "picture.webp"])
@pytest.mark.parametrize("form", ["png", "webp"])
def test_saving_keeps_the_recipe_and_the_pixels_in_both_formats(local, tmp_path, name, form):
    (picture,) = local.generate(2, seed=3, format=form)
    picture.save(tmp_path / name)
    found = Picture.of((tmp_path / name).read_bytes())
    assert found.recipe == picture.recipe
    assert found.recipe["seed"] == 3
    assert np.array_equal(np.asarray(found)[:, :, 0], np.asarray(picture)[:, :, 0])
    assert found.image.format == name.partition(".")[2].upper()


def test_a_picture_is_saved_in_a_format_it_can_have_or_not_at_all(shoes, tmp_path):
    with pytest.raises(ValueError, match=r"\.png or \.webp"):
        shoes[0].save(tmp_path / "picture.jpg")
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_source_is_the_same_picture(local, shoes, tmp_path):
    shoes[0].save(tmp_path / "shoe.png")
    pixels = np.asarray(shoes[0])
    sent = [shoes[0], shoes[0].data, shoes[0].image, pixels, pixels[:, :, 0], tmp_path / "shoe.png", str(tmp_path / "shoe.png")]
    found = local.encode(sent)
    assert len({encoding.code for encoding in found}) == 1
    assert local.encode(np.stack([pixels, pixels]))[1].code == found[0].code
    assert local.encode(shoes[0])[0].code == found[0].code
    assert found[0].class_.name == "Alpha"
    assert found[0].z_s.dtype == np.float32


@pytest.mark.parametrize("source", [3, np.zeros((8, 8)), np.zeros((2, 2, 2, 2, 2), np.uint8), object()])
def test_what_is_no_picture_is_a_type_error(local, source):
    with pytest.raises((TypeError, AttributeError)):
        local.encode([source])


def test_codes_in_all_their_forms_give_the_picture_back(local, shoes):
    (encoding,) = local.encode(shoes[0])
    forms = [encoding, encoding.code, (encoding.z_s, encoding.z_u), {"z_s": encoding.z_s, "z_u": encoding.z_u}]
    found = local.decode(forms)
    assert len({picture.code for picture in found}) == 1
    assert local.decode(shoes[0])[0].image.tobytes() == shoes[0].image.tobytes()
    assert local.decode({"class": 1, "seed": 2})[0].class_.name == "Beta"


# ------------------------------------------------------------------------------------------------------------------ swap


def test_a_matrix_has_the_class_of_its_row_and_the_style_of_its_column(local, shoes):
    matrix = local.swap([shoes[0], shoes[1]], list(shoes), verdict=True)
    assert (matrix.rows, matrix.cols, len(matrix)) == (2, 3, 6)
    assert matrix[1, 2] is matrix[5]
    assert matrix[-1, -1] is matrix[5]
    assert (matrix[1, 0].entry["row"], matrix[1, 0].entry["col"]) == (1, 0)
    assert matrix[0, 0].verdict.kept
    assert np.asarray(matrix.sheet()).shape == (16, 24, 1)
    assert matrix.notes == {"class_from": [[], []], "style_from": [[], [], []]}
    with pytest.raises(IndexError):
        matrix[2, 0]


def test_a_verdict_names_the_network_that_read_the_class(local, shoes, tmp_path):
    assert local.edit(shoes[0], verdict=True)[0].verdict.by == "encoder"
    classified = Local(toy.make_bundle(tmp_path / "toy", eval_classifier=True))
    verdict = classified.edit(shoes[0], verdict=True)[0].verdict
    assert (verdict.by, verdict.kept) == ("evaluation classifier", False)


def test_a_matrix_above_the_cap_is_that_of_one_request_cell_by_cell(local):
    a, b = local.generate(0, n=9, seed=1), local.generate(1, n=11, seed=2)
    matrix = local.swap(list(a), list(b))
    assert (matrix.rows, matrix.cols) == (9, 11)
    for r, c in ((0, 0), (8, 10), (3, 9), (8, 0)):
        assert matrix[r, c].data == local.swap(a[r], b[c])[0, 0].data
    assert [(p.entry["row"], p.entry["col"]) for p in matrix] == [(r, c) for r in range(9) for c in range(11)]


def test_a_row_of_more_than_the_cap_is_split_too(local, shoes):
    many = [shoes[0].code] * 70
    assert local.swap(many, shoes[1].code).rows == 70
    assert local.swap(shoes[1].code, many).cols == 70


# ------------------------------------------------------------------------------------------- on the way, edited, filled


def test_a_way_begins_and_ends_with_its_keys_and_is_one_row(local, shoes):
    way = local.interpolate([shoes[0].code, local.encode(shoes[1])[0], {"class": 1, "seed": 2}], frames=7, verdict=True)
    assert (way.rows, way.cols, len(way)) == (1, 7, 7)
    assert way[0].data != way[3].data
    assert np.array_equal(np.asarray(way[0]), np.asarray(local.decode(shoes[0].code)[0]))
    assert np.array_equal(np.asarray(way[6]), np.asarray(local.decode({"class": 1, "seed": 2})[0]))
    assert len(way[6].entry["class_probs"]) == 4
    assert np.asarray(way.sheet()).shape == (8, 56, 1)
    ends = local.classes()[:2]
    assert local.interpolate(ends, 3, seed=4)[2].code == local.interpolate([{"class": 0}, {"class": 1}], 3, seed=4)[2].code


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_the_same_way_moves(local, shoes, tmp_path, form):
    moving = local.animate([shoes[0], shoes[1]], 5, fps=10, format=form)
    moving.save(tmp_path / f"way.{form}")
    assert moving.image.n_frames == 5
    assert moving.recipe
    with pytest.raises(ValueError, match="animation as it is"):
        local.animate([shoes[0], shoes[1]], 5).save(tmp_path / "way.png")


def test_an_edit_has_the_class_asked_for_and_other_styles_count_up(local, shoes):
    (moved,) = local.edit(shoes[0], "beta", verdict=True)
    assert moved.verdict.class_.name == "Beta"
    assert local.edit(shoes[0].code, local.classes()[1], strength=0.0)[0].image.tobytes() == shoes[0].image.tobytes()
    many = local.edit(shoes[0], n=70, style_spread=0.8)
    assert len(many) == 70
    again = local.edit(shoes[0], style_spread=0.8, seed=many.seed, index=69)
    assert again[0].data == many[69].data


def test_a_hole_is_filled_and_the_rest_is_untouched(local, shoes):
    hole = np.zeros((8, 8), bool)
    hole[2:5, 1:4] = True
    masked, boxed = local.inpaint(shoes[0], hole, steps=2)[0], local.inpaint(shoes[0], box=(1, 2, 3, 3), steps=2)[0]
    assert np.array_equal(np.asarray(masked), np.asarray(boxed))
    assert np.array_equal(np.asarray(masked)[~hole], np.asarray(shoes[0])[~hole])
    with pytest.raises(errors.Invalid):
        local.inpaint(shoes[0])


def test_a_picture_made_here_is_known_again(local, shoes):
    found = local.inspect(shoes[0], verify=True)
    assert (found.recipe, found.verified, found.max_difference, found.notes) == (shoes[0].recipe, True, 0, [])
    assert local.inspect(shoes.sheet(), verify=True).verified
    assert local.inspect(np.zeros((8, 8), np.uint8)).recipe is None


# ------------------------------------------------------------------------------------------------------------- splitting


def test_more_pictures_than_one_request_may_hold_are_the_same_pictures(local):
    many = local.generate("gamma", n=150, seed=8, index=3)
    assert [picture.index for picture in many] == list(range(3, 153))
    for k in (0, 63, 64, 128, 149):
        assert many[k].data == local.generate("gamma", seed=8, index=3 + k)[0].data


def test_without_a_seed_the_first_answers_seed_is_kept_for_the_rest():
    desk = Desk(no_models(), *(httpx.Response(200, json={"model": "toy@1", "images": [GREY | {"seed": 99}] * n}) for n in (64, 64, 16)))
    assert len(desk.client().generate(0, n=144)) == 144
    assert [(asked.get("seed"), asked["index"], asked["n"]) for asked in desk.asked[1:]] == [(None, 0, 64), (99, 64, 64), (99, 128, 16)]


def test_many_pictures_are_encoded_and_decoded_in_several_requests(local):
    many = local.generate(3, n=70, seed=4)
    encodings = local.encode(list(many))
    assert len(encodings) == 70
    assert encodings[69].code == local.encode(many[69])[0].code
    assert [p.code for p in local.decode(encodings)] == [e.code for e in encodings]


def test_pictures_above_a_lower_cap_are_those_of_one_request(local, toy_bundle):
    with Local(toy_bundle, Settings(max_items=6, max_body_bytes=4096)) as small:
        same = [many.generate("gamma", n=16, seed=8, index=3) for many in (local, small)]
        assert [picture.data for picture in same[0]] == [picture.data for picture in same[1]]
        styles = [many.edit(same[0][0], n=9, style_spread=0.5, seed=1) for many in (local, small)]
        assert [picture.data for picture in styles[0]] == [picture.data for picture in styles[1]]
        codes = [[one.code for one in many.encode(list(same[0]))] for many in (local, small)]
        assert codes[0] == codes[1]
        decoded = [[picture.data for picture in many.decode(codes[0])] for many in (local, small)]
        assert decoded[0] == decoded[1]
        matrices = [many.swap(list(same[0][:5]), list(same[0][5:12]), verdict=True) for many in (local, small)]
        assert [picture.data for picture in matrices[0]] == [picture.data for picture in matrices[1]]
        assert matrices[1].notes == matrices[0].notes
        assert (matrices[1].rows, matrices[1].cols, matrices[1][4, 6].entry["col"]) == (5, 7, 6)


def test_the_caps_are_asked_for_once_and_only_where_something_may_be_divided():
    one = httpx.Response(200, json={"model": "toy@1", "images": [GREY | {"seed": 1}]})
    four, two = (httpx.Response(200, json={"model": "toy@1", "images": [GREY | {"seed": 1}] * n}) for n in (4, 2))
    desk = Desk(one, no_models(max_items=4), four, two, four, two)
    client = desk.client()
    client.generate(0, seed=1)
    for _ in range(2):
        assert len(client.generate(0, n=6, seed=1)) == 6
    assert [asked.get("n") for asked in desk.asked] == [1, None, 4, 2, 4, 2]


async def test_the_asynchronous_client_divides_by_the_servers_caps_too(local, open_client):
    service = await open_client(max_items=5)
    async with AsyncClient("http://service", transport=httpx.ASGITransport(service.app)) as client:
        many = await client.generate("beta", n=12, seed=1)
    assert [picture.data for picture in many] == [picture.data for picture in local.generate("beta", n=12, seed=1)]


def test_large_pictures_are_sent_in_loads_that_a_body_may_hold(local):
    noise = np.random.default_rng(0).integers(0, 256, (4, 1100, 1100, 3), np.uint8)  # 3.6 MB each, and more in base64
    assert len(local.encode(noise)) == 4
    matrix = local.swap(noise[:2], noise[2:])
    assert matrix.notes["class_from"][0] == ["converted to grey", "1100x1100 resized to 8x8"]


# ---------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("code", sorted(STATUS.keys()))
def test_every_code_of_the_list_is_raised_as_its_class(code):
    desk = Desk(problem(STATUS[code], code, field="n", allowed="1 to 64"))
    with pytest.raises(errors.TwofoldError) as caught:
        desk.client(retries=0).generate(0)
    assert type(caught.value).code == code
    assert (caught.value.detail, caught.value.field, caught.value.allowed, caught.value.request_id) == ("No.", "n", "1 to 64", "r1")


def test_a_refusal_of_the_real_service_says_which_field_and_what_is_allowed(local):
    with pytest.raises(errors.Invalid, match="no class of this name") as caught:
        local.generate("sneaker")
    assert caught.value.field == "class"
    assert "Gamut" in caught.value.allowed
    assert caught.value.request_id
    with pytest.raises(errors.NotFound):
        local.generate(0, model="other")
    with pytest.raises(errors.Invalid, match="list"):
        local.encode([])


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="<h1>Bad gateway</h1>"),
        httpx.Response(404, json=["no", "problem"]),
        httpx.Response(200, text="<h1>Welcome</h1>", headers={"content-type": "text/html"}),
        httpx.Response(200, content=b"{", headers={"content-type": "application/json"}),
        httpx.Response(301, headers={"location": "/"}),
    ],
)
def test_what_does_not_answer_like_the_service_is_not_reached(answer):
    with pytest.raises(Unreachable, match="not as a Twofold service does"):
        Desk(answer).client().models()


# -------------------------------------------------------------------------------------------------------------- patience


def test_busy_is_tried_again_after_what_the_service_says():
    desk = Desk(problem(503, "queue_full", retry_after="7"), problem(429, "queue_full", retry_after="2"), no_models())
    assert desk.client().models() == []
    assert desk.slept == [7, 2]


def test_a_connection_that_cannot_be_made_is_tried_again_ever_more_slowly():
    desk = Desk(httpx.ConnectError("refused"), httpx.ConnectTimeout("late"), no_models())
    assert desk.client().models() == []
    assert desk.slept == [0.25, 0.5]


def test_nothing_else_is_tried_again():
    for answer, kind in (
        (problem(422, "invalid"), errors.Invalid),
        (problem(504, "deadline_passed"), errors.DeadlinePassed),
        (problem(500, "internal"), errors.TwofoldError),
        (httpx.ReadTimeout("late"), Unreachable),
        (httpx.ReadError("cut"), Unreachable),
    ):
        desk = Desk(answer)
        with pytest.raises(kind):
            desk.client().models()
        assert (len(desk.asked), desk.slept) == (1, [])


def test_patience_ends_after_so_many_tries_and_so_many_seconds():
    desk = Desk(*[httpx.ConnectError("refused")] * 9)
    with pytest.raises(Unreachable, match="desk cannot be reached"):
        desk.client(retries=2).models()
    assert len(desk.asked) == 3
    desk = Desk(problem(503, "draining", retry_after="20"), problem(503, "draining", retry_after="20"))
    with pytest.raises(errors.Draining) as caught:
        desk.client().models()
    assert desk.slept == [20]
    assert caught.value.retry_after_s == 20


def test_ready_asks_once_and_is_a_plain_answer(local):
    assert local.ready()
    for answer in (httpx.ConnectError("refused"), problem(503, "draining", retry_after="1")):
        desk = Desk(answer)
        assert not desk.client().ready()
        assert desk.slept == []


# ----------------------------------------------------------------------------------------------------------- three doors


def test_all_three_have_every_plan_with_the_same_signature():
    names = [name for name, one in vars(calls).items() if inspect.isgeneratorfunction(one) and not name.startswith("_")]
    assert {"generate", "encode", "decode", "swap", "interpolate", "edit", "inpaint", "inspect", "models", "classes", "ready"} <= set(names)
    for name in names:
        for kind in (Client, AsyncClient, Local):
            assert inspect.signature(getattr(kind, name)) == inspect.signature(getattr(calls, name))
            assert getattr(kind, name).__doc__


async def test_the_asynchronous_client_gives_the_same_pictures(local, open_client):
    service = await open_client()
    async with AsyncClient("http://service", transport=httpx.ASGITransport(service.app)) as client:
        assert [p.data for p in await client.generate("beta", n=3, seed=1)] == [p.data for p in local.generate("beta", n=3, seed=1)]
        assert (await client.models())[0].default
        assert [one.name for one in await client.classes()] == ["Alpha", "Beta", "Gamma", "Gamut"]
        with pytest.raises(errors.Invalid):
            await client.generate("sneaker")
        with pytest.raises(errors.NotFound):
            await client.classes("other/name")


async def test_the_asynchronous_client_is_as_patient():
    desk, slept = Desk(problem(503, "not_ready", retry_after="3"), no_models()), []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with AsyncClient("http://desk", transport=httpx.MockTransport(desk.answer), sleep=sleep) as client:
        assert await client.models() == []
    assert slept == [3]


def test_the_models_and_their_classes_are_listed(local):
    (model,) = local.models()
    assert (model.name, model.default, model.dims["dim_s"]) == ("toy", True, 3)
    found = local.classes()
    assert [(one.index, one.name, one.weight) for one in found][:2] == [(0, "Alpha", 0.25), (1, "Beta", 0.25)]
    assert local.generate(found[2], seed=1)[0].class_.name == "Gamma"


def test_a_local_service_starts_with_the_first_call_and_ends_when_it_is_closed(toy_bundle):
    before = threading.active_count()
    local = Local(toy_bundle)
    assert local.arrays.generate(0, n=2).shape == (2, 8, 8, 1)
    assert threading.active_count() == before
    assert local.generate(0, seed=1)[0].data
    assert threading.active_count() > before
    local.close()
    assert threading.active_count() == before


def test_a_service_that_cannot_start_fails_the_call_and_is_tried_again_with_the_next():
    tried = []

    @asynccontextmanager
    async def broken():
        tried.append(threading.current_thread().name)
        raise RuntimeError("no thread left")
        yield

    with Client("http://local", transport=InProcess(broken)) as client:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no thread left"):
                client.models()
    assert tried == ["twofold", "twofold"]
