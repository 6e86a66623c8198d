"""The room that draws numbers: well-formed SVG, nothing of a name taken for markup, no number off the chart."""

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
        "lines": charts.lines({"<loss>": ("red", [(0, 1.0), (1, 3.0)])}, ticks={0: "<stage>"}),
        "dots": charts.dots(rng.normal(size=(60, 2)), rng.integers(0, 3, 60), NAMES, marked=True),
        "bands": charts.bands(np.array([[0.5, 0.5, 0], [0, 0.1, 0.9]]), NAMES),
        "heat": charts.heat(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 5]]), NAMES),
    }


@pytest.mark.parametrize("kind", drawn())
def test_names_stay_text(kind):
    picture = ET.fromstring(drawn()[kind])
    assert {node.tag for node in picture.iter()} <= {"svg", "path", "text", "rect", "title"}
    assert picture.get("aria-label")


def test_a_line_runs_over_the_whole_chart():
    route = re.search(r'class="line" stroke="red" d="M([^"]*)"', drawn()["lines"])[1]
    (x0, y0), (x1, y1) = (map(float, place.split()) for place in route.split("L"))
    assert x0 < x1
    assert y0 > y1  # upwards


def test_a_mark_before_the_first_point_stays_on_the_chart():
    text = charts.lines({"late": ("red", [(0.5, 1.0), (1, 2.0)])}, ticks={0: "start"})
    axis, mark = (float(re.search(rf'class="{kind}" d="M([\d.]+) ', text)[1]) for kind in ("axis", "tick"))
    assert mark == axis


@pytest.mark.parametrize("points", [[(3, 2.0)], [(0, 2.0), (1, 2.0)]])
def test_one_point_or_a_constant_still_draws(points):
    assert "nan" not in charts.lines({"flat": ("red", points)})


def test_far_points_stay_on_the_chart():
    points = np.concatenate([np.random.default_rng(0).normal(size=(500, 2)), [[1e6, -1e6]]])
    text = charts.dots(points, np.zeros(501, int), ["a"], marked=False, size=360)
    places = [float(value) for place in re.findall(r"M(\d+) (\d+)h", text) for value in place]
    assert len(places) == 1002
    assert min(places) >= 0
    assert max(places) <= 360
    assert np.std(places) > 30  # and did not shrink the others to a dot


def test_shares_of_a_frame_fill_its_bar():
    heights = [float(node.get("height")) for node in ET.fromstring(drawn()["bands"]).iter("rect")]
    assert sum(heights) == pytest.approx(80)


def test_the_heat_map_writes_per_cent_of_each_row():
    texts = [node.text for node in ET.fromstring(drawn()["heat"]).iter("text")]
    assert texts[-4:] == ["75", "25", "100", "100"]


def test_many_classes_have_a_heat_map_without_numbers():
    size = 100
    picture = ET.fromstring(charts.heat(np.eye(size, dtype=np.int64), [f"class {k}" for k in range(size)]))
    assert len(list(picture.iter("rect"))) == size
    words = [node.text for node in picture.iter("text")]
    assert words[:4] == ["class 0 0", "0", "class 2 2", "2"]  # what has no room is left out
    assert "100" not in words
    assert len({charts.hue(k, size) for k in range(size)}) == size


def test_plots_share_their_axes_and_leave_out_what_is_off_them():
    points = np.array([[0.0, 0.0], [1.0, 1.0], [9.0, 0.0]])
    text = charts.scatters({"<row>": [("one", points, np.array([0, 1, 1]))] * 2}, NAMES, ((-1, 1), (-1, 1)), width=100)
    picture = ET.fromstring(text)
    routes = [path.get("d") for path in picture.iter("{http://www.w3.org/2000/svg}path")]
    assert routes[0] == "M62.0 78.0h.01"  # the middle of the first plot
    assert routes[1] == ""  # on the edge, and far away
    assert routes[3] == "M174.0 78.0h.01"
    assert next(picture.iter("{http://www.w3.org/2000/svg}text")).text == "<row>"
