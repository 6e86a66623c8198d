"""The one validator: query text becomes the same noun as JSON, or the same refusal in our own words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Invalid
from service.schemas import Decode, Generate, Swap

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


def test_true_and_false_are_the_only_truths():
    assert Swap.value("verdict", "true") is True
    assert Swap.value("verdict", "false") is False
    with pytest.raises(Invalid):
        Swap.value("verdict", "1")


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
