"""Arrays: the model without pictures' files, through Local."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.toy import make_bundle
from twofold.model.contract import ContractError
from twofold.model.preprocessing import to_pixels
from twofold.service.client import Local
from twofold.service.runtime.errors import Invalid, UnsupportedMedia


@pytest.fixture(scope="module")
def arrays(toy_bundle):
    return Local(toy_bundle).arrays


def test_generated_pictures_are_read_as_their_class(arrays):
    for label in range(4):
        pixels = arrays.generate(label, n=5, seed=label)
        assert pixels.shape == (5, 8, 8, 1)
        assert (arrays.encode(pixels).class_log_prob.argmax(1) == label).all()


def test_the_class_is_read_by_the_evaluation_classifier_or_else_by_the_encoder(arrays, tmp_path):
    pixels = arrays.generate(1, n=5)
    assert arrays.classify(pixels).tobytes() == arrays.encode(pixels).class_log_prob.tobytes()
    with_one = Local(make_bundle(tmp_path / "toy", eval_classifier=True)).arrays
    assert (arrays.classified_by, with_one.classified_by) == ("encoder", "evaluation classifier")
    assert with_one.classify(pixels).argmax(1).tolist() == [2] * 5
    assert with_one.generate(1, n=5).tobytes() == pixels.tobytes()


def test_a_class_may_be_named_and_each_picture_can_be_had_alone(arrays):
    several = arrays.generate("alpha", n=4, seed=9, index=10)
    for k in range(4):
        assert arrays.generate(0, seed=9, index=10 + k).tobytes() == several[k].tobytes()


def test_a_swap_has_the_class_of_one_and_the_style_of_the_other(arrays):
    # near the means, where the toy decoder hardly clips
    a, b = (arrays.generate(label, 6, seed=label, temperature=0.5, class_temperature=0.1) for label in (1, 2))
    found = arrays.encode(arrays.swap(a, b))
    np.testing.assert_allclose(found.z_s, arrays.encode(a).z_s, atol=0.1)
    np.testing.assert_allclose(found.z_u_mean, arrays.encode(b).z_u_mean, atol=0.1)
    assert np.abs(arrays.encode(a).z_u_mean - arrays.encode(b).z_u_mean).max() > 0.5


def test_visible_pixels_stay_to_the_byte(arrays):
    generated = arrays.generate(1, n=5, seed=3)
    holes = np.zeros((5, 8, 8), bool)
    for k, hole in enumerate(holes):
        hole[k : k + 4, 4 - k : 8 - k] = True
    filled = arrays.inpaint(np.where(holes[..., None], np.uint8(0), generated), holes, steps=2)
    assert np.array_equal(filled[~holes], generated[~holes])
    assert (filled[holes] != 0).any()


def test_a_picture_that_the_model_can_draw_is_found_again_behind_a_hole(arrays):
    generated = arrays.decode(*arrays.sample(np.arange(40) % 4, seed=3))
    holes = np.zeros((40, 8, 8), bool)
    holes[:, 2:6, 3:7] = True

    def squares(pixels):
        return np.square(pixels.astype(float) - generated)[holes].mean()

    assert squares(arrays.inpaint(generated, holes)) < 0.1 * squares(np.broadcast_to(arrays.mean_picture, generated.shape))


def test_holes_of_another_shape_or_type_are_refused(arrays):
    for holes in (np.zeros((1, 8, 8), bool), np.zeros((2, 8, 8)), np.zeros((2, 8, 8, 1), bool)):
        with pytest.raises(Invalid, match="holes must be bool"):
            arrays.inpaint(arrays.generate(1, n=2), holes)


def test_samples_follow_their_labels_and_the_sampler(arrays):
    z_s, z_u = arrays.sample([0, 1, 2, 3], seed=4, class_temperature=0)
    np.testing.assert_array_equal(z_s, arrays.prior.fit_means)
    assert len(np.unique(z_u, axis=0)) == 4
    assert arrays.sample([1], 4, index=1, sampler="paper")[0].shape == (1, 3)
    assert arrays.decode(z_s, z_u).shape == (4, 8, 8, 1)


def test_bytes_paths_pictures_and_pixels_are_the_same_to_it(arrays, tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 31), np.uint8))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    (tmp_path / "picture.png").write_bytes(stream.getvalue())
    pixels = to_pixels(image, arrays.card.dims, arrays.card.preprocessing)[0]
    expected = arrays.encode(pixels[None]).z_s[0]
    found = arrays.encode([image, stream.getvalue(), tmp_path / "picture.png", str(tmp_path / "picture.png")])
    np.testing.assert_allclose(found.z_s, np.stack([expected] * 4), atol=1e-5)


def test_many_rows_are_no_trouble(arrays):
    rng = np.random.default_rng(0)
    z_s, z_u = rng.normal(size=(5000, 3)), rng.normal(size=(5000, 2))
    assert arrays.encode(arrays.decode(z_s, z_u)).log_density.shape == (5000,)


@pytest.mark.parametrize("pictures", [[], "picture.png", b"PNG", np.zeros((2, 9, 8, 1), np.uint8), np.zeros((2, 8, 8, 1))])
def test_what_is_no_sequence_of_pictures_is_refused(arrays, pictures):
    with pytest.raises(Invalid):
        arrays.encode(pictures)


def test_what_is_no_picture_is_refused(arrays):
    with pytest.raises(UnsupportedMedia):
        arrays.encode([b"GIF89a"])


def test_an_unknown_class_and_a_wrong_code_are_refused(arrays):
    with pytest.raises(Invalid, match="no class"):
        arrays.generate("sneaker")
    with pytest.raises(Invalid, match="z_u must have shape"):
        arrays.decode(np.zeros((1, 3)), np.zeros((1, 3)))


def test_a_damaged_bundle_is_refused(toy_bundle, tmp_path):
    folder = shutil.copytree(toy_bundle, tmp_path / "toy")
    (folder / "decoder.onnx").write_bytes(b"")
    with pytest.raises(ContractError, match=r"^bundle toy: decoder\.onnx: "):
        Local(folder)
