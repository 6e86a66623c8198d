"""Settings keep their bounds and refuse what they don't know."""

from pathlib import Path

import pytest

from twofold.service.cli.main import parser
from twofold.service.settings import Settings, SettingsError, bounds, table


def read(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], **overrides: object) -> Settings:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    return Settings.from_env(**overrides)


def test_an_empty_environment_gives_the_defaults():
    assert Settings.from_env() == Settings()
    assert Settings().bundle == ()
    assert Settings().max_body_bytes == 8 * 2**20


def test_only_from_env_reads_the_environment(monkeypatch):
    assert read(monkeypatch, {"TWOFOLD_PORT": "9000"}).port == 9000
    assert Settings().port == 8000


def test_every_variable_is_read_as_its_type(monkeypatch):
    environ = {"TWOFOLD_PORT": "9000", "TWOFOLD_DEADLINE_S": "2.5", "TWOFOLD_RECIPE": "False", "TWOFOLD_BUNDLE": "/a:/b", "HOME": "/"}
    found = read(monkeypatch, environ)
    assert (found.port, found.deadline_s, found.recipe, found.bundle) == (9000, 2.5, False, (Path("/a"), Path("/b")))


def test_the_colon_of_a_bundle_on_a_hub_separates_nothing(monkeypatch):
    found = read(monkeypatch, {"TWOFOLD_BUNDLE": "hf:somebody/toy:/a:hf:somebody/other@v1:/xhf:/b"})
    assert [str(path) for path in found.bundle] == ["hf:somebody/toy", "/a", "hf:somebody/other@v1", "/xhf", "/b"]


def test_the_command_line_wins_over_the_environment(monkeypatch):
    assert read(monkeypatch, {"TWOFOLD_PORT": "9000"}, port=9001).port == 9001


@pytest.mark.parametrize("name", ["TWOFOLD_PROT", "twofold_port"])
def test_an_unknown_variable_is_refused_and_the_nearest_named(monkeypatch, name):
    with pytest.raises(SettingsError, match=f"{name} is not a setting; the nearest is TWOFOLD_PORT"):
        read(monkeypatch, {name: "1"})


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("PORT", "http", "whole number"),
        ("PORT", "9" * 5000, "whole number"),
        ("PORT", "65536", "from 0 to 65535"),
        ("DEADLINE_S", "soon", "a number"),
        ("DEADLINE_S", "nan", "from 0.01"),
        ("DEADLINE_S", "inf", "from 0.01"),
        ("RECIPE", "maybe", "one of 1, true"),
        ("LOG_LEVEL", "loud", "one of debug"),
        ("QUEUE_ROWS", "63", "at least max_items"),
        ("BATCH_ROWS", "0", "from 1"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(monkeypatch, name, text, says):
    with pytest.raises(SettingsError, match=f"(?i){name}.*{says}"):
        read(monkeypatch, {f"TWOFOLD_{name}": text})


def test_an_unknown_or_mistyped_argument_is_refused_by_name():
    with pytest.raises(SettingsError, match="prot is not a setting"):
        Settings(prot=1)
    with pytest.raises(SettingsError, match=r"host: .*string"):
        Settings(host=None)


def test_bounds_themselves_are_allowed():
    for name in Settings.model_fields:
        others = {"max_items": {"queue_rows": 4096}, "queue_rows": {"max_items": 1}}.get(name, {})
        for value in bounds(name):
            if value is not None:
                assert getattr(Settings(**{name: value} | others), name) == value


def test_the_table_has_a_line_for_every_setting():
    lines = table().splitlines()
    assert len(lines) == 2 + len(Settings.model_fields)
    for name, spec in Settings.model_fields.items():
        assert any(line.startswith(f"| `TWOFOLD_{name.upper()}` |") and spec.description in line for line in lines)


@pytest.mark.parametrize("name", ["host", "port"])
def test_the_help_of_serve_is_the_setting_with_its_default(name):
    """The parser spells these out, because importing pydantic would double the time of `twofold --help`."""
    serve = next(action for action in parser()._actions if action.dest == "command").choices["serve"]
    (option,) = (action for action in serve._actions if action.dest == name)
    about, _, more = Settings.model_fields[name].description.partition("; ")
    assert option.help == f"{about} (default {Settings.model_fields[name].default}{f'; {more}' if more else ''})"
