"""Parameters are declared once: requests, options of the command line and signatures of the client have the same names and defaults."""

from __future__ import annotations

import argparse
import inspect
import json

import pytest

from twofold.service.cli.main import parser
from twofold.service.client import calls
from twofold.service.http import schemas
from twofold.service.runtime import operations, parameters
from twofold.service.settings import Settings, SettingsError

CONTROLS = {
    "generate": (parameters.GENERATE, schemas.Generate),
    "swap": (parameters.SWAP, schemas.Swap),
    "interpolate": (parameters.INTERPOLATE, schemas.Interpolate),
    "edit": (parameters.EDIT, schemas.Edit),
    "inpaint": (parameters.INPAINT, schemas.Inpaint),
    "inspect": (parameters.INSPECT, schemas.Inspect),
}
EACH = pytest.mark.parametrize(("name", "declared", "request_model"), [(name, *pair) for name, pair in CONTROLS.items()], ids=CONTROLS)


@EACH
def test_a_request_takes_every_parameter_of_its_control(name, declared, request_model):
    for parameter_name, parameter in declared.items():
        field = request_model.model_fields[parameter_name]
        assert (field.default, field.description) == (parameter.default, parameter.description)


@EACH
def test_the_client_has_the_same_names_and_defaults(name, declared, request_model):
    signatures = {**inspect.signature(calls.animate).parameters, **inspect.signature(getattr(calls, name)).parameters}
    for parameter_name, parameter in declared.items():
        if parameter_name != "animate":
            assert signatures[parameter_name].default == parameter.default


@EACH
def test_the_command_has_an_option_for_each(name, declared, request_model):
    commands = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)).choices
    options = {action.dest: action for action in commands[name]._actions}
    for parameter_name, parameter in declared.items():
        option = options[parameter_name]
        assert option.default == (None if parameter_name == "format" else parameter.default)
        if parameter.choices:
            assert tuple(option.choices) == parameter.choices


def test_operations_have_the_same_defaults():
    for kind, declared in ((operations.Generate, parameters.GENERATE), (operations.Edit, parameters.EDIT)):
        for name, found in inspect.signature(kind).parameters.items():
            if name in declared and name != "seed":
                assert found.default == declared[name].default


@pytest.mark.parametrize(
    ("parameter", "taken", "refused"),
    [
        (parameters.TEMPERATURE, [0.0, 4.0], [0, 4.1, -0.1, True, "1", None, float("nan")]),
        (parameters.INDEX, [0, parameters.MAX_INDEX], [-1, 2**31, 1.0, True, None]),
        (parameters.GENERATE["sampler"], ["paper"], ["", "Paper", 1, None, []]),
    ],
)
def test_a_value_of_a_recipe_has_the_type_and_the_bounds_of_its_parameter(parameter, taken, refused):
    assert all(parameter.accepts(value) for value in taken)
    assert not any(parameter.accepts(value) for value in refused)


def test_the_setting_may_be_as_high_as_the_validator_takes():
    assert Settings(max_items=parameters.HARD_MAX_ITEMS, queue_rows=parameters.HARD_MAX_ITEMS).max_items == parameters.HARD_MAX_ITEMS
    with pytest.raises(SettingsError, match="max_items"):
        Settings(max_items=parameters.HARD_MAX_ITEMS + 1, queue_rows=10_000)


async def test_refusals_and_document_name_the_cap_in_force(open_client):
    for max_items, frames in ((64, 64), (20, 20), (100, 64)):
        client = await open_client(max_items=max_items, queue_rows=1024)
        answer = await client.get("/generate?class=1&n=0")
        assert answer.json()["allowed"] == f"an integer from 1 to {max_items} (how many pictures)"
        answer = await client.post("/interpolate", json={"keys": ["c1.x", "c1.y"], "frames": 1})
        assert answer.json()["allowed"] == f"an integer from 2 to {frames} (how many pictures)"
        assert (await client.post("/decode", json={"items": []})).json()["allowed"] == f"a list of 1 to {max_items} items"
        document = (await client.get("/openapi.json")).json()
        known = document["components"]["schemas"]
        assert (known["Generate"]["properties"]["n"]["maximum"], known["Interpolate"]["properties"]["frames"]["maximum"]) == (
            max_items,
            frames,
        )
        assert known["Encode"]["properties"]["images"]["maxItems"] == known["Swap"]["properties"]["class_from"]["maxItems"] == max_items
        assert f"an integer from 1 to {max_items} (" in json.dumps(document["paths"]["/generate"]["get"]["parameters"])
        assert not any(mark in json.dumps(document) for mark in ("{most}", schemas.CAPPED))
