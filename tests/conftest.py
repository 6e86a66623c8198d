"""Fixtures of the whole suite."""

import signal
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.toy import make_bundle
from twofold.service.http.app import create_app
from twofold.service.runtime.batcher import Batcher
from twofold.service.runtime.registry import Registry, load
from twofold.service.settings import Settings
from twofold.service.telemetry import Metrics

# A suite that runs in the background is started with Ctrl-C ignored, and the programs that it starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items):
    """What needs the exported model is slow: the export alone takes many seconds."""
    for item in items:
        if "exported" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory):
    """A verified toy bundle; to damage one, copy it."""
    return make_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A model that has seen real pictures and the bundle exported of it; torch is imported only where this is used."""
    from tests.exported import make_exported

    return make_exported(tmp_path_factory.mktemp("exported"))


@pytest.fixture
async def batcher_of():
    """Make started batchers around a fake run; they are closed after the test."""
    made = []

    def make(run, **settings):
        made.append(Batcher(run, **({"batch_rows": 8, "queue_rows": 100} | settings)))
        made[-1].start()
        return made[-1]

    yield make
    for batcher in made:
        await batcher.aclose(drain_s=5)


@pytest.fixture
async def open_client(toy_bundle):
    """Make HTTP clients of apps in this process on the toy bundle, or on models given; closed after the test."""
    async with AsyncExitStack() as stack:

        async def make(*models, **settings):
            chosen, metrics = Settings(**settings), Metrics()
            app = create_app(chosen, Registry(models or [load(toy_bundle, chosen, metrics.batch_rows.observe)]), metrics)
            await stack.enter_async_context(app.router.lifespan_context(app))
            transport = httpx.ASGITransport(app, raise_app_exceptions=True)
            client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://test"))
            client.app = app
            return client

        yield make


@pytest.fixture
async def client(open_client):
    """A client of an app with the default settings."""
    return await open_client()
