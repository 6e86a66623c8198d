"""The charts: well-formed SVG without ids and links, names that stay text, nothing off the chart, the same bytes each time."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from twofold.training.reporting import charts

NAMES = ["<b>", 'a "quoted" & long name of a class', "c"]


def drawn() -> dict[str, str]:
    rng = np.random.default_rng(0)
    return {
        "lines": charts.lines({"<loss>": ("class", [(0, 1.0), (1, 3.0)])}, ticks={0: "<stage>"}),
        "dots": charts.dots(rng.normal(size=(60, 2)), rng.integers(0, 3, 60), NAMES, marked=True),
        "bands": charts.bands(np.array([[0.5, 0.5, 0], [0, 0.1, 0.9]]), NAMES),
        "heat": charts.heat(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 5]]), NAMES),
    }


def paths(text: str, colour: str) -> list[np.ndarray]:
    """Points [N, 2] of every path that is stroked in the colour."""
    found = re.findall(rf'<path d="([^"]*)" style="[^"]*stroke: {re.escape(colour)}', text)
    return [np.array([float(n) for n in re.findall(r"[\d.]+", path)]).reshape(-1, 2) for path in found]


def titles(text: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(text).iter("title")]


@pytest.mark.parametrize("kind", drawn())
def test_names_stay_text_and_nothing_refers_to_anything(kind):
    text = drawn()[kind]
    picture = ET.fromstring(text)
    assert {node.tag for node in picture.iter()} <= {"svg", "g", "path", "text", "title"}
    assert picture.get("aria-label")
    assert not re.search(r"\bid=|href|url\(|https?:", text)


@pytest.mark.parametrize("kind", drawn())
def test_a_chart_has_the_same_bytes_each_time(kind):
    assert drawn()[kind] == drawn()[kind]


def test_colours_of_the_page_are_css_variables():
    assert "stroke: var(--class)" in drawn()["lines"]
    assert "fill: var(--quiet)" in drawn()["heat"]
    assert not any(placeholder in text for placeholder in charts.THEME.values() for text in drawn().values())


def test_a_line_is_as_wide_and_as_high_as_the_chart():
    (line,) = paths(drawn()["lines"], "var(--class)")
    (x0, y0), (x1, y1) = line
    assert (x0, x1) == (52, 254)
    assert y0 - y1 == 66  # upwards


def test_a_mark_before_the_first_point_is_at_the_axis():
    text = charts.lines({"late": ("class", [(0.5, 1.0), (1, 2.0)])}, ticks={0: "start"})
    mark, axis = (path[0, 0] for path in paths(text, "var(--line)")[:2])
    assert mark == axis == 52
    assert paths(text, "var(--class)")[0][0, 0] == 153


@pytest.mark.parametrize("points", [[(3, 2.0)], [(0, 2.0), (1, 2.0)]])
def test_one_point_or_a_constant_has_a_chart(points):
    (line,) = paths(charts.lines({"flat": ("ink", points)}), "var(--ink)")
    assert (line[:, 1] == 48).all()


def test_far_points_stay_on_the_chart():
    points = np.concatenate([np.random.default_rng(0).normal(size=(500, 2)), [[1e6, -1e6]]])
    text = charts.dots(points, np.zeros(501, int), ["a"], marked=False, size=360)
    (places,) = paths(text, charts.hue(0, 1))
    assert len(places) == 2 * 501
    assert places.min() >= 0
    assert places.max() <= 360
    assert np.std(places) > 30  # and they leave room for the others


def test_shares_of_a_frame_fill_its_bar():
    assert titles(drawn()["bands"]) == [f"{NAMES[0]} 50%", f"{NAMES[1]} 50%", "c 90%", f"{NAMES[1]} 10%"]
    bars = re.findall(r'<path d="([^"]*)" style="fill: #', drawn()["bands"])
    heights = [np.ptp([float(n) for n in re.findall(r"[\d.]+", bar)][1::2]) for bar in bars]
    assert sum(heights) == pytest.approx(80)


def test_the_heat_map_has_per_cent_of_each_row():
    texts = [node.text for node in ET.fromstring(drawn()["heat"]).iter("text")]
    assert texts[-4:] == ["75", "25", "100", "100"]
    assert titles(drawn()["heat"])[1] == f"<b> read as {NAMES[1]}: 1 (25.0%)"


def test_many_classes_have_a_heat_map_without_numbers():
    size = 100
    text = charts.heat(np.eye(size, dtype=np.int64), [f"class {k}" for k in range(size)])
    assert len(titles(text)) == size
    words = [node.text for node in ET.fromstring(text).iter("text")]
    assert words[:2] == ["class 0 0", "class 2 2"]  # what has no room is left out
    assert "100" not in words
    assert len({charts.hue(k, size) for k in range(size)}) == size


def test_text_is_as_wide_as_its_letters():
    assert charts.text_width("", 12) == 0
    assert charts.text_width("mm", 12) == pytest.approx(2 * charts.text_width("m", 12), rel=0.15)
    assert charts.text_width("m", 24) == pytest.approx(2 * charts.text_width("m", 12), rel=0.05)
