"""codes.py: seeds, classes, mixtures and tokens are what they were yesterday."""

import base64
import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import toy
from twofold.model import contract
from twofold.service.runtime import latents
from twofold.service.runtime.errors import Invalid

HASH = hashlib.sha256(b"toy").hexdigest()
CARD = contract.Card(
    name="toy", class_names=toy.CLASS_NAMES, dims=toy.DIMS, preprocessing=contract.Preprocessing(background=(255,)), model_hash=HASH
)
rng = np.random.default_rng(5)
PRIOR = contract.Prior(
    class_means=toy.MEANS,
    class_log_vars=rng.normal(size=(4, 3)).astype(np.float32),
    class_weights=np.full(4, 0.25, np.float32),
    fit_means=toy.MEANS + np.float32(0.5),
    fit_scale_tril=np.tril(rng.normal(size=(4, 3, 3))).astype(np.float32),
    fit_z_u_mean=np.array([0.1, -0.2], np.float32),
    fit_z_u_scale_tril=np.array([[1, 0], [0.5, 2]], np.float32),
)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


# ------------------------------------------------------------------------------------------------------------- streams


@pytest.mark.parametrize(
    ("seed", "index", "purpose", "expected"),
    [
        (0, 0, latents.Z_U, [0.15929546600623282, -1.7741885208017214, 1.3265118818830892, 1.2048090979493156]),
        (0, 0, latents.Z_S, [0.7803922565150754, -0.22492372709467987, 1.1175875059932296, -0.23532502464123586]),
        (42, 7, latents.Z_U, [-0.3485299519982578, 0.26246809786092623, 0.14432400086552669, 0.7727989230530549]),
        (2**63 - 1, 2**31 - 1, latents.Z_S, [0.8759624462488119, -0.4954286550762474, -1.3497887644371565, 1.1947673943917323]),
    ],
)
def test_the_streams_are_the_ones_that_every_earlier_picture_was_made_from(seed, index, purpose, expected):
    assert latents.stream(seed, index, purpose).standard_normal(4).tolist() == expected


def test_streams_of_other_seeds_indices_and_purposes_are_unrelated():
    keys = [(s, i, p) for s in (0, 1, 2**63 - 1) for i in (0, 1, 2**31 - 1) for p in (latents.Z_U, latents.Z_S)]
    first = {latents.stream(*key).standard_normal() for key in keys}
    assert len(first) == len(keys)


# ------------------------------------------------------------------------------------------------------------- samplers


def test_one_seed_is_one_style_in_every_class():
    assert latents.sample_z_u(PRIOR, 3, 1).tolist() == latents.sample_z_u(PRIOR, 3, 1).tolist()
    assert latents.sample_z_s(PRIOR, 0, 3, 1).tolist() != latents.sample_z_s(PRIOR, 1, 3, 1).tolist()


def test_the_fitted_sampler_is_mean_plus_factor_times_noise():
    noise = latents.stream(7, 2, latents.Z_S).standard_normal(3)
    expected = PRIOR.fit_means[1] + 0.5 * (PRIOR.fit_scale_tril[1].astype(float) @ noise)
    np.testing.assert_allclose(latents.sample_z_s(PRIOR, 1, 7, 2, class_temperature=0.5), expected, rtol=1e-6)
    noise = latents.stream(7, 2, latents.Z_U).standard_normal(2)
    expected = PRIOR.fit_z_u_mean + 2 * (PRIOR.fit_z_u_scale_tril.astype(float) @ noise)
    np.testing.assert_allclose(latents.sample_z_u(PRIOR, 7, 2, temperature=2), expected, rtol=1e-6)


def test_the_paper_sampler_is_the_learned_gaussian_and_a_standard_style():
    noise = latents.stream(7, 2, latents.Z_S).standard_normal(3)
    expected = PRIOR.class_means[1] + np.exp(PRIOR.class_log_vars[1] / 2) * noise
    np.testing.assert_allclose(latents.sample_z_s(PRIOR, 1, 7, 2, sampler="paper"), expected, rtol=1e-6)
    noise = latents.stream(7, 2, latents.Z_U).standard_normal(2)
    np.testing.assert_allclose(latents.sample_z_u(PRIOR, 7, 2, 0.5, "paper"), 0.5 * noise, rtol=1e-6)


@pytest.mark.parametrize("sampler", ["fitted", "paper"])
def test_temperature_zero_is_the_mean(sampler):
    mean = PRIOR.fit_means if sampler == "fitted" else PRIOR.class_means
    assert latents.sample_z_s(PRIOR, 2, 1, 0, 0, sampler).tolist() == mean[2].tolist()
    style = PRIOR.fit_z_u_mean if sampler == "fitted" else np.zeros(2)
    assert latents.sample_z_u(PRIOR, 1, 0, 0, sampler).tolist() == style.tolist()


def test_draws_have_the_mean_and_covariance_of_their_class():
    draws = np.stack([latents.sample_z_s(PRIOR, 3, 0, index) for index in range(4000)])
    covariance = PRIOR.fit_scale_tril[3] @ PRIOR.fit_scale_tril[3].T
    np.testing.assert_allclose(draws.mean(0), PRIOR.fit_means[3], atol=0.1)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.1 * np.abs(covariance).max())


# -------------------------------------------------------------------------------------------------------------- classes


@pytest.mark.parametrize(
    ("text", "label"),
    [("0", 0), ("3", 3), ("Alpha", 0), ("alpha", 0), ("B", 1), ("gamM", 2), ("gamu", 3), ("name:Beta", 1), ("name:al", 0)],
)
def test_a_class_is_an_index_a_name_or_a_unique_prefix(text, label):
    assert latents.parse_class(text, toy.CLASS_NAMES) == label


@pytest.mark.parametrize(
    "text",
    ["", "gam", "4", "-1", "+1", " 1", "1 ", "01", "1.0", "0x1", "٧", "\uff11", "true", "name:", "name:1", "9" * 5000, "Delta", "\ud800"],
)
def test_anything_else_is_refused_with_what_is_allowed(text):
    with pytest.raises(Invalid) as caught:
        latents.parse_class(text, toy.CLASS_NAMES)
    assert caught.value.field == "class"
    assert caught.value.allowed
    assert len(text) < 2 or text not in caught.value.detail


def test_digits_are_an_index_even_when_a_class_is_named_by_digits():
    names = ("1", "0", "Bag", "Bags", "bag")
    assert latents.parse_class("0", names) == 0
    assert latents.parse_class("name:0", names) == 1
    assert [latents.parse_class(text, names) for text in ("Bag", "bag", "bags")] == [2, 4, 3]
    with pytest.raises(Invalid, match="several"):
        latents.parse_class("BAG", names)


def test_a_misspelt_class_is_answered_with_the_closest_names():
    with pytest.raises(Invalid) as caught:
        latents.parse_class("Gamna", toy.CLASS_NAMES)
    assert caught.value.allowed.split(", ")[0] == "Gamma"


@given(st.lists(st.text(min_size=1, max_size=8).filter(str.isprintable), min_size=1, max_size=6, unique=True), st.data())
def test_every_class_can_be_named_in_full_whatever_the_names(names, data):
    label = data.draw(st.integers(0, len(names) - 1))
    assert latents.parse_class(f"name:{names[label]}", names) == label
    assert latents.parse_class(str(label), names) == label


@given(st.text())
def test_parsing_a_class_gives_an_index_or_a_refusal(text):
    try:
        label = latents.parse_class(text, toy.CLASS_NAMES)
    except Invalid:
        return
    assert text == str(label) or toy.CLASS_NAMES[label].casefold().startswith(text.removeprefix("name:").casefold())


# ------------------------------------------------------------------------------------------------------------- mixtures


def test_class_means_are_the_refitted_ones_and_mix_by_weight():
    assert latents.class_mean(PRIOR, 2).tolist() == PRIOR.fit_means[2].tolist()
    mixed = latents.mix_means(PRIOR, {3: 0.25, 1: 0.75})
    np.testing.assert_allclose(mixed, 0.75 * PRIOR.fit_means[1] + 0.25 * PRIOR.fit_means[3], rtol=1e-6)
    assert mixed.dtype == np.float32
    assert mixed.tolist() == latents.mix_means(PRIOR, {1: 0.75, 3: 0.25}).tolist()


@pytest.mark.parametrize("weights", [{}, {0: 0.5}, {0: 0.5, 1: 0.50001}, {0: 1.5, 1: -0.5}, {0: float("nan")}])
def test_weights_that_do_not_sum_to_one_are_refused(weights):
    with pytest.raises(Invalid) as caught:
        latents.mix_means(PRIOR, weights)
    assert caught.value.field == "class_weights"


def test_the_class_of_a_code_is_the_one_whose_weighted_gaussian_is_highest():
    z_s = np.random.default_rng(6).normal(size=(50, 3)).astype(np.float32) * 2
    weights = np.array([0.7, 0.3, 0, 0], np.float32)
    found = latents.class_log_joint(replace(PRIOR, class_weights=weights), z_s)
    for row, code in zip(found, z_s, strict=True):
        deviations = np.exp(PRIOR.class_log_vars.astype(float) / 2)
        densities = np.exp(-0.5 * np.square((code - PRIOR.class_means) / deviations)) / deviations
        with np.errstate(divide="ignore"):
            expected = np.log(weights) + np.log(densities).sum(1)
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-4)
    assert set(found.argmax(1)) == {0, 1}


# -------------------------------------------------------------------------------------------------------------- between


def key(*numbers: float) -> latents.Pair:
    return np.array(numbers[:3], np.float32), np.array(numbers[3:], np.float32)


A, B = key(1, 2, 3, 4, 0), key(-1, 0, 5, 0, 2)


def test_what_does_not_vary_is_that_of_the_first_key():
    for vary, expected in (("both", B), ("class", (B[0], A[1])), ("style", (A[0], B[1]))):
        first, second = latents.hold([A, B], vary)
        assert first == A
        assert [code.tolist() for code in second] == [code.tolist() for code in expected]


@pytest.mark.parametrize(
    ("keys", "frames", "places"),
    [
        (2, 2, [(0, 1, 0), (1, 1, 0)]),
        (2, 3, [(0, 1, 0), (0, 1, 0.5), (1, 1, 0)]),
        (3, 5, [(0, 1, 0), (0, 1, 0.5), (1, 2, 0), (1, 2, 0.5), (2, 2, 0)]),
        (3, 4, [(0, 1, 0), (0, 1, 2 / 3), (1, 2, 1 / 3), (2, 2, 0)]),
        (8, 2, [(0, 1, 0), (7, 7, 0)]),
    ],
)
def test_frames_lie_evenly_on_the_whole_way(keys, frames, places):
    assert latents.frame_places(keys, frames) == places


@pytest.mark.parametrize("path", ["linear", "slerp"])
def test_both_ends_of_a_way_are_the_keys_to_the_bit(path):
    for t, end in ((0, A), (1, B)):
        assert [code.tobytes() for code in latents.between(A, B, t, path)] == [code.tobytes() for code in end]


def test_a_straight_way_has_the_mean_in_its_middle():
    z_s, z_u = latents.between(A, B, 0.5)
    assert (z_s.tolist(), z_u.tolist()) == ([0, 1, 4], [2, 1])
    assert z_s.dtype == z_u.dtype == np.float32


def test_slerp_turns_the_style_evenly_and_moves_the_class_straight():
    z_s, z_u = latents.between(A, B, 0.5, "slerp")  # styles at a right angle, of lengths 4 and 2
    assert z_s.tolist() == [0, 1, 4]
    np.testing.assert_allclose(z_u, 3 * np.sqrt(0.5) * np.ones(2), rtol=1e-6)
    third = latents.between(A, B, 1 / 3, "slerp")[1]
    np.testing.assert_allclose(np.arctan2(third[1], third[0]), np.pi / 6, rtol=1e-6)


@pytest.mark.parametrize("style", [(2, 0), (-1, 0), (0, 0), (1, 1e-4), (-1, 1e-4)])
def test_styles_with_no_plane_to_turn_in_go_straight(style):
    far = key(0, 0, 0, *style)
    assert latents.between(A, far, 0.25, "slerp")[1].tolist() == latents.between(A, far, 0.25)[1].tolist()


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=4, max_size=4), st.floats(0, 1))
def test_no_way_is_longer_than_its_longer_end_or_not_finite(numbers, t):
    ends = key(0, 0, 0, *numbers[:2]), key(0, 0, 0, *numbers[2:])
    lengths = [np.linalg.norm(end[1].astype(float)) for end in ends]
    for path in ("linear", "slerp"):
        assert np.linalg.norm(latents.between(*ends, t, path)[1].astype(float)) <= max(lengths) * (1 + 1e-5) + 1e-30


# ---------------------------------------------------------------------------------------------------------------- edits


def test_a_code_moves_towards_the_mean_of_a_class_and_arrives():
    z_s = A[0]
    assert latents.toward_class(PRIOR, z_s, 1, 0).tobytes() == z_s.tobytes()
    assert latents.toward_class(PRIOR, z_s, 1, 1).tobytes() == PRIOR.fit_means[1].tobytes()
    np.testing.assert_allclose(latents.toward_class(PRIOR, z_s, 1, 0.25), 0.75 * z_s + 0.25 * PRIOR.fit_means[1], rtol=1e-6)


def test_a_spread_style_is_its_own_at_0_and_the_seeds_at_1():
    z_u = np.array([0.7, -3], np.float32)
    np.testing.assert_allclose(latents.other_style(PRIOR, z_u, 0, 3, 1), z_u, rtol=1e-6)
    np.testing.assert_allclose(latents.other_style(PRIOR, z_u, 1, 3, 1, 0.5), latents.sample_z_u(PRIOR, 3, 1, 0.5), rtol=1e-6)
    assert latents.other_style(PRIOR, z_u, 0.5, 3, 1).tolist() != latents.other_style(PRIOR, z_u, 0.5, 3, 2).tolist()


def test_styles_of_the_fitted_gaussian_are_still_of_it_when_they_are_spread():
    own = [latents.sample_z_u(PRIOR, 1, index) for index in range(4000)]
    spread = np.stack([latents.other_style(PRIOR, z_u, 0.6, 2, index) for index, z_u in enumerate(own)])
    np.testing.assert_allclose(spread.mean(0), PRIOR.fit_z_u_mean, atol=0.1)
    np.testing.assert_allclose(np.cov(spread.T), PRIOR.fit_z_u_scale_tril @ PRIOR.fit_z_u_scale_tril.T, atol=0.2)
    assert 0.7 < np.corrcoef(spread[:, 0], np.stack(own)[:, 0])[0, 1] < 0.9  # 0.8: they also keep their own


def test_directions_add_up_by_weight_in_any_order():
    directions = toy.DIRECTIONS.directions
    expected = A[1] + 2 * directions[0] - 0.5 * directions[1]
    np.testing.assert_allclose(latents.steer(A[1], directions, {0: 2, 1: -0.5}), expected, rtol=1e-6)
    assert latents.steer(A[1], directions, {1: -0.5, 0: 2}).tobytes() == latents.steer(A[1], directions, {0: 2, 1: -0.5}).tobytes()
    assert latents.steer(A[1], directions, {}).tobytes() == A[1].tobytes()


def test_other_directions_have_another_hash():
    known = latents.directions_hash(toy.DIRECTIONS.directions)
    assert int(known, 16) == 15116187340745711616  # pinned as a number: in hex it looks like a secret
    assert latents.directions_hash(toy.DIRECTIONS.directions[::-1]) != known


# --------------------------------------------------------------------------------------------------------------- tokens


@given(st.lists(floats, min_size=3, max_size=3), st.lists(floats, min_size=2, max_size=2))
def test_a_token_holds_its_codes_to_the_bit(z_s, z_u):
    z_s, z_u = np.array(z_s, np.float32), np.array(z_u, np.float32)
    token = latents.pack_token(z_s, z_u, CARD)
    assert token.startswith("c1.")
    got_s, got_u = latents.unpack_token(token, CARD)
    assert (got_s.tobytes(), got_u.tobytes()) == (z_s.tobytes(), z_u.tobytes())


TOKEN = latents.pack_token(np.array([1, 2, 3], np.float32), np.array([4, 5], np.float32), CARD)


def test_the_token_format_is_pinned():
    assert TOKEN == "c1.D1MTPOV8qOgDAAAAAgAAAAAAgD8AAABAAABAQAAAgEAAAKBAYG-zl5xNMpg"  # noqa: S105 (a code, no secret)


@given(st.integers(0, len(TOKEN) - 1), st.characters())
def test_a_token_with_any_other_character_is_refused(at, character):
    damaged = TOKEN[:at] + character + TOKEN[at + 1 :]
    if damaged != TOKEN:
        with pytest.raises(Invalid):
            latents.unpack_token(damaged, CARD)


@given(st.text() | st.binary().map(lambda data: "c1." + base64.urlsafe_b64encode(data).decode().rstrip("=")))
def test_what_is_no_token_is_refused(text):
    with pytest.raises(Invalid) as caught:
        latents.unpack_token(text, CARD)
    assert caught.value.field == "code"


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t + "=", lambda t: t + "\n", lambda t: " " + t, lambda t: t[:-1], lambda t: t + "A", lambda t: t.replace("-", "+"),
        lambda t: t.upper(), lambda t: "c2" + t[2:], lambda t: t[3:], lambda t: "c1." + t,
    ],
)  # fmt: skip
def test_a_token_is_written_in_one_way_only(change):
    token = latents.pack_token(np.array([-1.7, 2, 3], np.float32), np.array([-4.3, 5], np.float32), CARD)
    assert latents.unpack_token(token, CARD)[0][1] == 2
    if change(token) != token:
        with pytest.raises(Invalid):
            latents.unpack_token(change(token), CARD)


def test_another_models_token_is_refused_naming_both():
    other = replace(CARD, model_hash=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(Invalid, match=f"{HASH[:8]}.*{other.model_hash[:8]}"):
        latents.unpack_token(TOKEN, other)


def test_a_token_of_bad_codes_is_refused_even_with_a_right_checksum():
    for z_s, z_u in (([1, np.nan, 0], [0, 0]), ([1, 0, 0], [np.inf, 0]), ([1, 0], [0, 0, 0]), ([1, 0, 0], [0])):
        with pytest.raises(Invalid, match="damaged"):
            latents.unpack_token(latents.pack_token(np.array(z_s, np.float32), np.array(z_u, np.float32), CARD), CARD)


# ----------------------------------------------------------------------------------------------------------- typicality


def test_typicality_is_the_share_of_less_dense_pictures():
    quantiles = np.linspace(-60, 0, 101).astype(np.float32)
    assert latents.typicality(-30.0, quantiles) == pytest.approx(0.5)
    assert latents.typicality(-1000.0, quantiles) == 0
    assert latents.typicality(5.0, quantiles) == 1
    assert latents.typicality(-30.0, None) is None
