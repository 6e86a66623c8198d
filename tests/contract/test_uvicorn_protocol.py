"""What service/http/server.py uses of uvicorn, much of it internal, is still there and still called in the same order."""

from __future__ import annotations

import ast
import asyncio
import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import pytest
import uvicorn
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from twofold.service.http import server

ROOT = Path(__file__).parents[2]
METHODS = {  # of uvicorn that our subclasses override or call, with their parameters
    "GuardedProtocol": {
        "connection_made": ["transport"],
        "connection_lost": ["exc"],
        "data_received": ["data"],
        "on_message_begin": [],
        "on_header": ["name", "value"],
        "on_headers_complete": [],
        "on_message_complete": [],
        "send_400_response": ["msg"],
        "_unset_keepalive_if_required": [],
    },
    "Server": {"__init__": ["config"], "handle_exit": ["sig", "frame"], "on_tick": ["counter"]},
}
ATTRIBUTES = {  # of uvicorn's instances that our subclasses read or set
    "GuardedProtocol": {"config", "cycle", "loop", "transport", "url"},
    "Server": {"server_state", "should_exit"},
}
BASES = {"GuardedProtocol": HttpToolsProtocol, "Server": uvicorn.Server}
REQUEST = b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


async def app(scope, receive, send):
    """Answers nothing: only the protocol is tested."""


def config() -> uvicorn.Config:
    return uvicorn.Config(app, lifespan="off", log_config=None)


def instance(name: str, loop: asyncio.AbstractEventLoop) -> object:
    if name == "Server":
        return uvicorn.Server(config())
    protocol = HttpToolsProtocol(config(), ServerState(), {}, loop)
    protocol.on_message_begin()  # sets `url`
    return protocol


def declared() -> SpecifierSet:
    """The versions of uvicorn that pyproject.toml admits."""
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    (found,) = (one.specifier for one in map(Requirement, lines) if one.name == "uvicorn")
    return found


@pytest.mark.parametrize("name", BASES)
def test_the_tables_name_all_that_the_subclass_uses(name):
    tree = ast.parse(Path(server.__file__).read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    used = {node.attr for node in ast.walk(found) if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "super()")}
    defined = {node.name for node in found.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    ours = {"state", "settings", "_drain_until", "in_head", "refused", "received", "head_deadline"}
    ours |= {"_start_head_deadline", "_stop_head_deadline", "_refuse", "_too_long"}
    assert (used | defined) - ours == set(METHODS[name]) | ATTRIBUTES[name]
    assert not any(hasattr(BASES[name], one) for one in ours), "uvicorn has taken one of our names"


@pytest.mark.parametrize("name", BASES)
def test_every_method_has_its_parameters(name):
    for method, parameters in METHODS[name].items():
        assert list(inspect.signature(getattr(BASES[name], method)).parameters)[1:] == parameters, method
    assert inspect.iscoroutinefunction(uvicorn.Server.on_tick)


@pytest.mark.parametrize("name", BASES)
async def test_every_attribute_is_there(name):
    found = instance(name, asyncio.get_running_loop())
    assert {attribute for attribute in ATTRIBUTES[name] if not hasattr(found, attribute)} == set()
    assert ServerState().connections == set()
    assert "response_complete" in inspect.getsource(RequestResponseCycle.__init__)


def test_every_option_of_the_configuration_is_there():
    tree = ast.parse(Path(server.__file__).read_text(encoding="utf-8"))
    (call,) = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "uvicorn.Config")
    assert {keyword.arg for keyword in call.keywords} <= set(inspect.signature(uvicorn.Config).parameters)


async def test_the_parser_calls_the_methods_in_this_order():
    protocol = HttpToolsProtocol(config(), ServerState(), {}, asyncio.get_running_loop())
    protocol.connection_made(mock.Mock())
    called = []
    for name in ("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete", "send_400_response"):
        method = getattr(protocol, name)
        setattr(protocol, name, lambda *arguments, name=name, method=method: (called.append(name), method(*arguments)))
    protocol.parser = type(protocol.parser)(protocol)  # the parser looks the methods up once
    protocol.data_received(REQUEST)
    protocol.data_received(b"no HTTP\r\n\r\n")
    expected = ["on_message_begin", "on_url", "on_header", "on_header", "on_headers_complete", "on_body", "on_message_complete"]
    assert called[: len(expected)] == expected
    assert called[-1] == "send_400_response"
    assert protocol.cycle.response_complete is False
    await asyncio.gather(*protocol.tasks)


def test_uvicorn_is_pinned_below_its_next_minor_version():
    installed = Version(version("uvicorn"))
    specifier = declared()
    assert installed in specifier
    assert f"{installed.major}.{installed.minor + 1}.0" not in specifier
