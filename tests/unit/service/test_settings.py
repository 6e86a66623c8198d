"""Settings keep their bounds and refuse what they don't know."""

from dataclasses import fields
from pathlib import Path

import pytest

from twofold.service.settings import Settings, SettingsError, table


def test_an_empty_environment_gives_the_defaults():
    assert Settings.from_env({}) == Settings()
    assert Settings().bundle == ()
    assert Settings().max_body_bytes == 8 * 2**20


def test_every_variable_is_read_as_its_type():
    environ = {"TWOFOLD_PORT": "9000", "TWOFOLD_DEADLINE_S": "2.5", "TWOFOLD_RECIPE": "False", "TWOFOLD_BUNDLE": "/a:/b", "HOME": "/"}
    found = Settings.from_env(environ)
    assert (found.port, found.deadline_s, found.recipe, found.bundle) == (9000, 2.5, False, (Path("/a"), Path("/b")))


def test_the_colon_of_a_bundle_on_a_hub_separates_nothing():
    found = Settings.from_env({"TWOFOLD_BUNDLE": "hf:somebody/toy:/a:hf:somebody/other@v1:/xhf:/b"})
    assert [str(path) for path in found.bundle] == ["hf:somebody/toy", "/a", "hf:somebody/other@v1", "/xhf", "/b"]


def test_the_command_line_wins_over_the_environment():
    assert Settings.from_env({"TWOFOLD_PORT": "9000"}, port=9001).port == 9001


def test_an_unknown_variable_is_refused_and_the_nearest_named():
    with pytest.raises(SettingsError, match="TWOFOLD_PROT is not a setting; the nearest is TWOFOLD_PORT"):
        Settings.from_env({"TWOFOLD_PROT": "1"})


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("PORT", "http", "whole number"),
        ("PORT", "65536", "from 0 to 65535"),
        ("DEADLINE_S", "soon", "a number"),
        ("DEADLINE_S", "nan", "from 0.01"),
        ("DEADLINE_S", "inf", "from 0.01"),
        ("RECIPE", "maybe", "one of"),
        ("LOG_LEVEL", "loud", "one of"),
        ("QUEUE_ROWS", "63", "at least max_items"),
        ("BATCH_ROWS", "0", "from 1"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(name, text, says):
    with pytest.raises(SettingsError, match=f"(?i){name}.*{says}"):
        Settings.from_env({f"TWOFOLD_{name}": text})


def test_bounds_themselves_are_allowed():
    for spec in fields(Settings):
        for end in ("low", "high"):
            if (value := spec.metadata[end]) is not None:
                others = {"max_items": {"queue_rows": 4096}, "queue_rows": {"max_items": 1}}.get(spec.name, {})
                assert getattr(Settings(**{spec.name: value} | others), spec.name) == value


def test_the_table_has_a_line_for_every_setting():
    lines = table().splitlines()
    assert len(lines) == 2 + len(fields(Settings))
    for spec in fields(Settings):
        assert any(line.startswith(f"| `TWOFOLD_{spec.name.upper()}` |") and spec.metadata["about"] in line for line in lines)
