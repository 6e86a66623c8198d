"""The measures against brute force, closed forms and pictures whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from twofold.training.metrics import image_metrics


def grey(*pictures) -> np.ndarray:
    return np.array(pictures, np.uint8)[..., None]


def sheared_bar(columns_per_row: float) -> np.ndarray:
    """A vertical bar, 3 wide, that moves right by so many columns for each row up."""
    y, x = np.mgrid[:29, :29].astype(float)
    return (np.clip(2 - np.abs(x - 14 - (14 - y) * columns_per_row), 0, 1) * (np.abs(y - 14) < 10) * 255).astype(np.uint8)


def test_brightness_is_the_mean_of_pixels_above_25_and_zero_without_any():
    assert image_metrics.brightness(grey([[0, 25], [26, 100]], [[3, 25], [0, 0]])).tolist() == [63.0, 0.0]


@pytest.mark.parametrize("shear", [-0.4, 0.0, 0.25])
def test_slant_is_the_shear_of_a_bar_whatever_its_place(shear):
    bar = sheared_bar(shear)
    assert image_metrics.slant(grey(bar, np.roll(bar, 2, axis=1))) == pytest.approx([shear, shear], abs=0.04)


def test_an_empty_picture_has_no_slant_and_no_stroke():
    empty = np.zeros((1, 8, 8, 1), np.uint8)
    assert image_metrics.slant(empty).tolist() == image_metrics.stroke_width(empty).tolist() == [0.0]


@pytest.mark.parametrize("width", [1, 2, 4])
def test_stroke_width_is_the_width_of_a_long_bar(width):
    picture = np.zeros((1, 60, 20, 1), np.uint8)
    picture[:, 2:58, 5 : 5 + width] = 200
    assert image_metrics.stroke_width(picture)[0] == pytest.approx(width, rel=0.1)


def test_standardised_values_have_mean_0_and_deviation_1_in_every_class():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    values = rng.normal(size=300) * (labels + 1) + 10 * labels
    unit = image_metrics.standardise(values, labels, image_metrics.class_table(values, labels, 3))
    for k in range(3):
        assert unit[labels == k].mean() == pytest.approx(0, abs=1e-9)
        assert unit[labels == k].std() == pytest.approx(1)


def test_pearson_agrees_with_numpy_and_is_0_for_what_does_not_move():
    a, b = np.random.default_rng(0).normal(size=(2, 50))
    assert image_metrics.pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert image_metrics.pearson(a, np.ones(50)) == 0.0


def test_retrieval_is_1_for_faithful_codes_chance_for_noise_and_0_for_constant_ones():
    rng = np.random.default_rng(0)
    codes, targets = rng.normal(size=(500, 8)), rng.integers(0, 500, 2000)
    assert image_metrics.retrieval(codes[targets] * 3, codes, targets, rng) == 1.0
    assert image_metrics.retrieval(rng.normal(size=(2000, 8)), codes, targets, rng) == pytest.approx(0.01, abs=0.01)
    assert image_metrics.retrieval(np.ones((2000, 8)), np.ones((500, 8)), targets, rng) == 0.0


def test_dimension_r_leaves_out_dimensions_that_are_not_in_use():
    rng = np.random.default_rng(0)
    codes = np.stack([rng.normal(size=400), rng.normal(size=400) * 0.01], 1)
    read = np.stack([codes[:, 0], rng.normal(size=400)], 1)
    assert image_metrics.active(codes).tolist() == [True, False]
    assert image_metrics.dimension_r(read, codes, image_metrics.active(codes)) == pytest.approx(1)
    assert image_metrics.dimension_r(read, codes, np.array([False, False])) == 0.0


def test_frechet_agrees_with_a_matrix_square_root():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 6)), rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + 1
    s, t, gap = np.cov(a, rowvar=False), np.cov(b, rowvar=False), a.mean(0) - b.mean(0)
    expected = gap @ gap + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert image_metrics.frechet(a, b) == pytest.approx(expected, rel=1e-8)


def test_frechet_is_0_for_the_same_set_and_the_squared_shift_for_a_moved_one():
    a = np.random.default_rng(0).normal(size=(300, 5))
    a[:, 4] = 0  # a dead feature must not spoil it
    assert image_metrics.frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert image_metrics.frechet(a, a + 2) == pytest.approx(20, abs=1e-6)


def test_variance_within_a_class_ignores_how_far_the_classes_are_apart():
    labels = np.array([0, 0, 1, 1])
    near = np.array([[0.0, 0], [2, 4], [0, 0], [2, 4]])
    assert image_metrics.within_class_variance(near, labels) == pytest.approx(5)
    assert image_metrics.within_class_variance(near + 100 * labels[:, None], labels) == pytest.approx(5)


def test_the_typicality_gap_is_1_for_codes_of_the_gaussians_and_4_at_twice():
    rng = np.random.default_rng(0)
    means, labels = rng.normal(size=(3, 4)) * 5, rng.integers(0, 3, 20_000)
    tril = np.stack([np.tril(rng.normal(size=(4, 4))) + 2 * np.eye(4) for _ in range(3)])
    step = np.einsum("nij,nj->ni", tril[labels], rng.normal(size=(20_000, 4)))
    once, twice = (image_metrics.mahalanobis_gap(means[labels] + n * step, labels, means, tril) for n in (1, 2))
    assert once.mean() == pytest.approx(1, abs=0.03)
    assert twice == pytest.approx(4 * once)  # picture by picture, in the order of the codes


def test_psnr_of_a_known_error():
    black = np.zeros((2, 4, 4, 1), np.uint8)
    error = image_metrics.mean_square_error(black, np.stack([black[0], black[0] + 51]))
    assert error == pytest.approx([0, 0.04])
    assert image_metrics.psnr(error) == pytest.approx([100, 13.9794], abs=1e-4)


@pytest.mark.parametrize("shape", [(14, 13, 1), (12, 12, 3), (8, 6, 1)])
def test_ssim_agrees_with_a_brute_force_sum_over_windows(shape):
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    b = (a * 0.6 + rng.integers(0, 100, a.shape)).astype(np.uint8)
    assert image_metrics.ssim(a, b) == pytest.approx([brute_ssim(a[0], b[0]), brute_ssim(a[1], b[1])])
    assert image_metrics.ssim(a, a) == pytest.approx([1, 1])


def brute_ssim(a, b) -> float:
    height, width, channels = a.shape
    size = min(11, height - 1 + height % 2, width - 1 + width % 2)
    g = np.array([[np.exp(-((i - size // 2) ** 2 + (j - size // 2) ** 2) / (2 * 1.5**2)) for j in range(size)] for i in range(size)])
    g /= g.sum()
    found = []
    for top in range(height - size + 1):
        for left in range(width - size + 1):
            for c in range(channels):
                x, y = (p[top : top + size, left : left + size, c].astype(float) for p in (a, b))
                mx, my = (g * x).sum(), (g * y).sum()
                vx, vy, cov = (g * (x - mx) ** 2).sum(), (g * (y - my) ** 2).sum(), (g * (x - mx) * (y - my)).sum()
                found.append((2 * mx * my + 6.5025) * (2 * cov + 58.5225) / ((mx**2 + my**2 + 6.5025) * (vx + vy + 58.5225)))
    return float(np.mean(found))


def test_pairs_within_a_class_of_equal_pictures_have_ssim_1_and_of_noise_about_0():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 10)
    equal = rng.integers(0, 256, (2, 12, 12, 1), dtype=np.uint8)[labels]
    assert image_metrics.intra_class_ssim(equal, labels, rng, pairs=20) == pytest.approx(1)
    noise = rng.integers(0, 256, (20, 12, 12, 1), dtype=np.uint8)
    assert abs(image_metrics.intra_class_ssim(noise, labels, rng, pairs=50)) < 0.1


def test_a_blur_forgives_a_line_that_is_a_pixel_off_and_not_a_wrong_brightness():
    line, moved = np.zeros((2, 1, 32, 32, 1), np.uint8)
    line[:, :, 15], moved[:, :, 16] = 255, 255
    raw, blurred = image_metrics.mean_square_error(line, moved)[0], image_metrics.blurred_square_error(line, moved)[0]
    assert blurred < raw / 20
    grey = np.full((1, 32, 32, 1), 51, np.uint8)
    assert image_metrics.blurred_square_error(grey, np.zeros_like(grey)) == pytest.approx([0.04])


def test_the_blurred_error_of_a_point_is_the_energy_of_the_gaussian():
    point = np.zeros((1, 41, 41, 1), np.uint8)
    point[0, 20, 20] = 255
    energy = 1 / (4 * np.pi * image_metrics.BLUR**2)  # integral of the squared Gaussian in two dimensions
    assert image_metrics.blurred_square_error(point, np.zeros_like(point))[0] == pytest.approx(energy / 41**2, rel=0.01)


def test_the_rank_is_0_for_the_truth_1_for_the_farthest_and_half_for_a_tie():
    others = grey([[0, 0]], [[10, 0]], [[20, 0]], [[30, 0]])
    assert image_metrics.truth_rank(others[:1], others[:1], others).tolist() == [0]
    assert image_metrics.truth_rank(others[3:], others[:1], others).tolist() == [1]
    assert image_metrics.truth_rank(others[1:2], others[:1], others[[0, 2]]).tolist() == [0.5]
    assert image_metrics.truth_rank(others[1:2], others[:1], others).tolist() == [0.5]  # one nearer, one as near, one farther
    assert image_metrics.truth_rank(others[:1], others[:1], others[[0]]).tolist() == [0.5]  # no other picture


def test_pictures_drawn_without_knowledge_have_a_median_rank_of_half():
    rng = np.random.default_rng(0)
    truth, drawn = rng.integers(0, 256, (2, 400, 5, 5, 1), dtype=np.uint8)
    assert np.median(image_metrics.truth_rank(drawn, truth, truth)) == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("shape", [(32, 32, 1), (33, 24, 1)])
def test_white_noise_has_its_variance_as_power_at_every_frequency(shape):
    noise = np.random.default_rng(0).normal(128, 20, (1500, *shape)).round().clip(0, 255).astype(np.uint8)
    power = image_metrics.radial_spectrum(noise)
    assert len(power) == round(min(shape[:2]) / np.sqrt(2))
    assert power == pytest.approx(np.full(len(power), 400), rel=0.1)


@pytest.mark.parametrize("cycles", [3, 8, 16])
def test_a_wave_has_its_power_in_the_bin_of_its_frequency(cycles):
    wave = 128 + 100 * np.cos(2 * np.pi * cycles * np.arange(32) / 32)
    pictures = np.broadcast_to(wave.round().astype(np.uint8)[None, None, :, None], (1, 32, 32, 3))
    power = image_metrics.radial_spectrum(pictures)
    assert power.argmax() + 1 == cycles
    assert power[np.abs(np.arange(1, 24) - cycles) > 2].max() < 0.01 * power.max()


def test_the_log_ratio_is_0_for_equals_and_the_logarithm_of_a_common_factor():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 20, (300, 32, 32, 1))
    plain, double = ((128 + factor * noise).round().clip(0, 255).astype(np.uint8) for factor in (1, 2))
    assert image_metrics.spectrum_log_ratio(plain, plain) == 0
    assert image_metrics.spectrum_log_ratio(double, plain) == pytest.approx(np.log(4), rel=0.02)
    assert image_metrics.spectrum_log_ratio(plain, double) == image_metrics.spectrum_log_ratio(double, plain)


def test_a_pixel_grid_and_a_blur_are_both_seen_by_the_spectrum():
    rng = np.random.default_rng(0)
    real = gaussian_filter(rng.normal(128, 80, (60, 32, 32, 1)), (0, 1, 1, 0))
    grid = real + 12 * (np.indices((32, 32)).sum(0) % 2)[None, :, :, None]  # a chequerboard
    real, grid, blur = (p.round().clip(0, 255).astype(np.uint8) for p in (real, grid, gaussian_filter(real, (0, 1, 1, 0))))
    assert image_metrics.spectrum_log_ratio(real[::2], real[1::2]) < 0.15
    assert image_metrics.spectrum_log_ratio(grid, real) > 0.15
    assert image_metrics.spectrum_log_ratio(blur, real) > 0.5
