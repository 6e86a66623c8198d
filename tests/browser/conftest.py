"""A headless Chromium (Debian's package) and a server with example pictures. Without a Chromium the tests fail: they hide nothing."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.serving import serving
from tests.toy import make_bundle
from twofold.model import contract
from twofold.service.client import Local

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def illustrated(tmp_path_factory):
    """The toy bundle with one example picture of each class."""
    folder = make_bundle(tmp_path_factory.mktemp("illustrated") / "toy")
    local = Local(folder).arrays
    (folder / contract.EXAMPLES).mkdir()
    for label in range(4):
        Image.fromarray(local.generate(label, 1, 10 + label)[0, :, :, 0]).save(folder / contract.EXAMPLES / f"{label:02}-{label}-0.png")
    contract.write_sums(folder)
    return folder


@pytest.fixture(scope="session")
def server(illustrated):
    with serving(illustrated) as running:
        yield running


@pytest.fixture(scope="module")  # not the session: while Playwright is open its event loop runs, and no other test gets one
def chromium():
    found = shutil.which("chromium")
    assert found, "there is no chromium: make system-deps"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Open pages that record what they ask for (`asked`) and what went wrong in them, which must be nothing."""
    contexts, wrong = [], []

    def make(url: str, **options: object):
        context = chromium.new_context(**({"viewport": {"width": 1200, "height": 1000}} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.asked, page.wrong = [], wrong
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.goto(url)
        return page

    yield make
    for context in contexts:
        context.close()
    assert wrong == []
