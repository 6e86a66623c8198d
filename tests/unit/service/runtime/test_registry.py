"""Models and their registry, on the toy bundle."""

import asyncio
import json
import shutil
import time
from dataclasses import replace

import numpy as np
import onnx
import pytest

from tests.toy import DIRECTIONS, make_bundle
from twofold.model import contract
from twofold.service.runtime.errors import Invalid, NotFound, NotReady
from twofold.service.runtime.registry import Registry, load, load_engine, mean_picture
from twofold.service.settings import Settings

SETTINGS = Settings(threads=1, batch_rows=4)


def later():
    return time.monotonic() + 60


@pytest.fixture
async def model(toy_bundle):
    model = load(toy_bundle, SETTINGS)
    model.start()
    yield model
    await model.aclose()


def draw_codes(n):
    rng = np.random.default_rng(n)
    return rng.normal(size=(n, 3)).astype(np.float32), rng.normal(size=(n, 2)).astype(np.float32)


async def test_requests_of_all_sizes_at_once_get_the_bytes_they_get_alone(model):
    requests = [draw_codes(n) for n in (1, 7, 2, 1, 13, 4, 3, 1, 30)]
    together = await asyncio.gather(*(model.decode(*codes, later()) for codes in requests))
    for (z_s, z_u), (pixels, timings) in zip(requests, together, strict=True):
        alone = [await model.decode(z_s[i : i + 1], z_u[i : i + 1], later()) for i in range(len(z_s))]
        assert pixels.tobytes() == b"".join(one.tobytes() for one, _ in alone)
        assert timings.model_ms > 0
    encoded, _ = await model.encode(together[-1][0], later())
    np.testing.assert_allclose(encoded.class_log_prob, model.engine.encode(together[-1][0]).class_log_prob, atol=1e-5)
    assert model.healthy
    assert model.queued == 0


@pytest.mark.parametrize(
    ("z_s", "z_u", "field"),
    [
        ([[0, 0]], [[0, 0]], "z_s"),
        ([[0, 0, 0]], [[0, 0], [0, 0]], "z_u"),
        ([[0, 0, np.nan]], [[0, 0]], "z_s"),
        ([[0, 0, 0]], [[0, 1e39]], "z_u"),
        (np.empty((0, 3)), np.empty((0, 2)), "z_s"),
    ],
)
async def test_bad_codes_never_reach_the_queue(model, z_s, z_u, field):
    with pytest.raises(Invalid) as caught:
        await model.decode(np.array(z_s), np.array(z_u), later())
    assert caught.value.field == field


@pytest.mark.parametrize("pixels", [np.zeros((1, 8, 8), np.uint8), np.zeros((1, 8, 8, 1), np.float32), np.zeros((0, 8, 8, 1), np.uint8)])
async def test_bad_pixels_never_reach_the_queue(model, pixels):
    with pytest.raises(Invalid, match=r"uint8 of shape \[n,8,8,1\]"):
        await model.encode(pixels, later())


async def test_huge_but_finite_codes_give_a_picture(model):
    pixels, _ = await model.decode(np.full((1, 3), 3e38), np.full((1, 2), 1e-45), later())
    assert pixels.shape == (1, 8, 8, 1)


async def test_a_model_that_is_not_started_is_not_healthy(toy_bundle):
    model = load(toy_bundle, SETTINGS)
    assert not model.healthy
    with pytest.raises(NotReady):
        await model.decode(*draw_codes(1), later())


async def test_classes_come_from_the_evaluation_classifier_through_its_own_queue(tmp_path, toy_bundle):
    plain, model = load(toy_bundle, SETTINGS), load(make_bundle(tmp_path / "toy", eval_classifier=True), SETTINGS)
    assert (plain.classified_by, model.classified_by) == ("encoder", "evaluation classifier")
    pixels = plain.engine.decode(*draw_codes(9))
    for each, shift in ((plain, 0), (model, 1)):
        each.start()
        log_prob, _ = await each.classify(pixels, later())
        np.testing.assert_allclose(log_prob, np.roll(plain.engine.encode(pixels).class_log_prob, shift, 1), atol=1e-4)
        with pytest.raises(Invalid, match=r"uint8 of shape \[n,8,8,1\]"):
            await each.classify(pixels[:, 1:], later())
        assert each.healthy
        await each.aclose()
        assert not each.healthy


def logits(model):
    """Leave out the last step: the logarithm of a softmax."""
    node = model.graph.node[-1]
    assert node.op_type == "LogSoftmax"
    node.op_type = "Identity"
    del node.attribute[:]


def not_a_number(model):
    next(tensor for tensor in model.graph.initializer if tensor.name == "const_s").raw_data = np.full((1, 4), np.nan, np.float32).tobytes()


def fails_beyond_one_row(model):
    at = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Sub")
    model.graph.node[at].input[0] = "looked_up"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(2, np.float32), "both"))
    for node in (
        onnx.helper.make_node("Add", ["unit", "offset"], ["looked_up"]),
        onnx.helper.make_node("Gather", ["both", "rows"], ["offset"]),  # out of bounds for more than one row
        onnx.helper.make_node("Shape", ["pixels"], ["rows"], end=1),
    ):
        model.graph.node.insert(at, node)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (logits, "class_log_prob must be log-probabilities"),
        (not_a_number, "class_log_prob must be log-probabilities"),
        (fails_beyond_one_row, "fails on the golden inputs"),
    ],
)
def test_an_evaluation_classifier_that_gives_no_classes_is_refused(tmp_path, change, says):
    folder = make_bundle(tmp_path / "toy", eval_classifier=True)
    model = onnx.load(folder / contract.EVAL_CLASSIFIER)
    change(model)
    onnx.save(model, folder / contract.EVAL_CLASSIFIER)
    contract.write_sums(folder)
    with pytest.raises(contract.ContractError, match=f"^eval_classifier.onnx: {says}$"):
        load(folder, SETTINGS)


def test_calibration_and_examples_come_with_the_bundle(tmp_path):
    folder = make_bundle(tmp_path / "toy")
    (folder / contract.EXAMPLES).mkdir()
    for name in ("01-3-0.png", "00-2-0.png"):
        (folder / contract.EXAMPLES / name).write_bytes(name.encode())
    contract.write_sums(folder)
    model = load(folder, SETTINGS)
    assert model.calibration.shape == (101,)
    assert [(example.label, example.png) for example in model.examples] == [(2, b"00-2-0.png"), (3, b"01-3-0.png")]


def test_a_bundle_without_extras_is_served_too(tmp_path):
    folder = make_bundle(tmp_path / "toy")
    (folder / contract.CALIBRATION).unlink()
    contract.write_sums(folder)
    model = load(folder, SETTINGS)
    assert (model.calibration, model.examples) == (None, ())


def test_directions_of_style_come_with_the_bundle_that_has_some(tmp_path, toy_bundle):
    model = load(make_bundle(tmp_path / "toy", directions=DIRECTIONS), SETTINGS)
    assert model.directions.directions.tolist() == DIRECTIONS.directions.tolist()
    assert model.directions.effects.tolist() == DIRECTIONS.effects.tolist()
    assert load(toy_bundle, SETTINGS).directions is None


@pytest.mark.parametrize(
    ("directions", "effects", "said"),
    [
        (np.ones((2, 3)), [2, 1], r"directions must be finite float32 of shape \[2, 2\]"),
        (np.ones((3, 2)), [2, 1], r"directions must be finite float32 of shape \[2, 2\]"),
        (np.full((2, 2), np.nan), [2, 1], "directions must be finite"),
        (np.ones((2, 2)), [[2, 1]], "directions must be finite float32 of shape"),
        (np.ones((0, 2)), [], "must hold 1 to 8 directions"),
        (np.ones((9, 2)), range(9, 0, -1), "must hold 1 to 8 directions"),
        (np.ones((2, 2)), [1, 2], "effects must descend"),
        (np.ones((2, 2)), [1, -1], "effects must descend and not be negative"),
    ],
)
def test_a_bundle_with_broken_directions_is_refused(tmp_path, directions, effects, said):
    broken = contract.Directions(np.asarray(directions, np.float32), np.asarray(list(effects), np.float32))
    with pytest.raises(contract.ContractError, match=f"^directions.npz: {said}"):
        load(make_bundle(tmp_path / "toy", directions=broken), SETTINGS)


def test_directions_that_cannot_be_read_are_refused(tmp_path):
    folder = make_bundle(tmp_path / "toy")
    (folder / contract.DIRECTIONS).write_bytes(b"PK")
    contract.write_sums(folder)
    with pytest.raises(contract.ContractError, match=r"^directions.npz: cannot be read"):
        load(folder, SETTINGS)


def test_the_mean_picture_weighs_the_class_means_by_their_frequency(toy_bundle):
    files, engine = load_engine(toy_bundle, SETTINGS)
    drawn = engine.decode(files.prior.fit_means, np.zeros((4, 2), np.float32))
    assert np.array_equal(mean_picture(engine, files.prior), np.rint(drawn.mean(0)).astype(np.uint8))
    only_beta = replace(files.prior, class_weights=np.array([0, 1, 0, 0], np.float32))
    assert np.array_equal(mean_picture(engine, only_beta), drawn[1])


async def test_the_registry_serves_by_name_and_the_first_by_default(toy_bundle, tmp_path):
    other = make_bundle(tmp_path / "b", name="other", seed=3)
    rows = []
    registry = Registry.open(Settings(bundle=(toy_bundle, other), threads=1), rows.append)
    assert not registry.healthy
    registry.start()
    assert registry.healthy
    assert (registry.default, list(registry.models)) == ("toy", ["toy", "other"])
    assert registry.get() is registry.get("toy") is not registry.get("other")
    with pytest.raises(NotFound) as caught:
        registry.get("third")
    assert caught.value.allowed == "toy, other"
    await registry.get("other").decode(*draw_codes(3), later())
    assert rows == [3]
    assert registry.queued == 0
    await registry.aclose()
    assert not registry.healthy


def test_two_bundles_of_one_name_are_refused(toy_bundle, tmp_path):
    shutil.copytree(toy_bundle, tmp_path / "copy")
    with pytest.raises(contract.ContractError, match="two bundles are named toy"):
        Registry.open(Settings(bundle=(toy_bundle, tmp_path / "copy"), threads=1))


def test_a_refused_bundle_is_named_by_its_folder(tmp_path):
    with pytest.raises(contract.ContractError, match=r"^bundle nowhere: no such bundle folder"):
        Registry.open(Settings(bundle=(tmp_path / "nowhere",)))


def claim(folder, metrics):
    """Write `metrics` into the card and seal the bundle again."""
    card = json.loads((folder / contract.CARD).read_text())
    (folder / contract.CARD).write_text(json.dumps(card | {"metrics": metrics}))
    contract.write_sums(folder)
    return folder


@pytest.mark.parametrize("metrics", [{"values": {"class_consistency": 1.0}}, {"values": {}}, {"values": 3}, {}])
def test_a_bundle_that_reaches_its_figure_is_served(tmp_path, metrics):
    assert load(claim(make_bundle(tmp_path / "toy"), metrics), SETTINGS).card.metrics == metrics
