"""The page in a real browser: it paints, it obeys its controls, it explains its refusals, and nothing leaves the origin."""

from __future__ import annotations

import base64
import re

import httpx
import pytest
from playwright.sync_api import expect

from tests import drawings
from tests.serving import serving

pytestmark = pytest.mark.browser

WAIT_MS = 20_000
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def drawn(page, seed="6", spread="1"):
    """Wait until the strip shows this seed and spread, and the matrix its verdicts."""
    expect(page.locator("#strip")).to_have_attribute("data-drawn", f"{seed} {spread}", timeout=WAIT_MS)
    page.wait_for_selector("#matrix:not(.busy) .mark")


def bytes_of(page, selector):
    """The bytes of an image element that shows a data: URL."""
    return base64.b64decode(page.get_attribute(selector, "src").partition(",")[2])


def test_the_strip_shows_every_class_in_the_style_of_the_seed(open_page, server):
    page = open_page(f"{server.url}/")
    drawn(page)
    assert page.locator("#strip .name").all_inner_texts() == ["Alpha", "Beta", "Gamma", "Gamut"]
    for label in range(4):
        shown = page.locator("#strip img").nth(label).get_attribute("src")
        assert shown.startswith("blob:")
    assert re.fullmatch(r"toy@[0-9a-f]{8} · 4 classes · class 3-d · style 2-d", page.inner_text("#model"))
    assert page.get_attribute("#state", "class") == "state up"


def test_the_dice_and_the_slider_draw_again(open_page, server):
    page = open_page(f"{server.url}/")
    drawn(page)
    before = page.get_attribute("#strip img", "src")
    page.click("#dice")
    seed = page.input_value("#seed")
    drawn(page, seed)
    assert page.get_attribute("#strip img", "src") != before
    page.fill("#spread", "0.3")
    drawn(page, seed, "0.3")
    assert page.inner_text("#spread-value") == "0.3"


def test_many_changes_end_on_the_last_with_one_request_at_a_time(open_page, server):
    page = open_page(f"{server.url}/")
    drawn(page)
    flying, most = set(), [0]

    def began(request):
        flying.add(request)
        most[0] = max(most[0], len(flying))

    page.on("request", lambda request: began(request) if "generate" in request.url else None)
    page.on("requestfinished", lambda request: flying.discard(request))
    page.evaluate(
        """async () => {
        const slider = document.getElementById("spread");
        for (let k = 0; k <= 100; k += 1) {
            slider.value = (k % 21) / 10;
            slider.dispatchEvent(new Event("input"));
            await new Promise((done) => setTimeout(done, 3));
        }
    }"""
    )
    drawn(page, "6", "1.6")
    assert most[0] == 1


def test_a_seed_that_is_none_is_explained_in_place(open_page, server):
    page = open_page(f"{server.url}/")
    drawn(page)
    for wrong in ("x", "-1", "9223372036854775808", "1.5", ""):
        page.fill("#seed", wrong)
        expect(page.locator("#strip-error")).to_contain_text("whole number", timeout=WAIT_MS)
        assert page.get_attribute("#seed", "aria-invalid") == "true"
    page.fill("#seed", "9223372036854775807")
    drawn(page, "9223372036854775807")
    assert page.inner_text("#strip-error") == ""


def test_the_matrix_shows_examples_with_class_by_row_and_style_by_column(open_page, server):
    page = open_page(f"{server.url}/")
    drawn(page)
    assert page.locator(".matrix .of-class .caption").all_inner_texts() == ["Alpha", "Beta", "Gamma", "Gamut"]
    assert page.locator(".matrix .of-style .caption").all_inner_texts() == ["Alpha", "Beta", "Gamma", "Gamut"]
    assert page.locator(".matrix td .picture").count() == 16
    kept = page.locator(".mark:not(.lost)").count()
    assert page.inner_text("#matrix-foot").startswith(f"class kept {kept}/16")
    examples = httpx.get(f"{server.url}/models/toy/examples").json()
    shoe, bag = (base64.b64decode(examples[k]["image"]) for k in (1, 2))
    assert bytes_of(page, "tr:nth-child(2) .of-class img") == shoe
    expected = httpx.post(f"{server.url}/swap", files={"class_from": ("a", shoe), "style_from": ("b", bag)}).content
    assert bytes_of(page, "tr:nth-child(2) td:nth-of-type(3) img") == expected


def test_an_own_picture_becomes_a_row_or_a_column_and_can_be_removed(open_page, server):
    page = open_page(f"{server.url}/")
    drawn(page)
    page.set_input_files("#pick-class", {"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": drawings.jpeg()})
    expect(page.locator(".matrix td .picture")).to_have_count(20, timeout=WAIT_MS)
    assert page.locator(".matrix .of-class .caption").last.inner_text() == "yours"
    assert "24x20" in page.inner_text("#matrix-foot") or "20x24" in page.inner_text("#matrix-foot")
    page.evaluate(
        """(data) => {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        const carried = new DataTransfer();
        carried.items.add(new File([bytes], "dropped.png"));
        document.getElementById("drop-style").dispatchEvent(new DragEvent("drop", { dataTransfer: carried, cancelable: true }));
    }""",
        base64.b64encode(drawings.png()).decode(),
    )
    expect(page.locator(".matrix td .picture")).to_have_count(25, timeout=WAIT_MS)
    page.focus("tr:nth-child(1) .of-class .remove")
    page.keyboard.press("Enter")
    expect(page.locator(".matrix td .picture")).to_have_count(20, timeout=WAIT_MS)
    assert page.locator(".matrix .of-class .caption").first.inner_text() == "Beta"


def test_a_file_that_is_no_picture_is_explained_and_changes_nothing(open_page, server):
    page = open_page(f"{server.url}/")
    drawn(page)
    page.set_input_files("#pick-style", {"name": "a.png", "mimeType": "image/png", "buffer": b"GIF89a" + bytes(50)})
    expect(page.locator("#matrix-error")).to_contain_text("PNG, JPEG or WebP", timeout=WAIT_MS)
    assert page.locator(".matrix td .picture").count() == 16
    page.wrong.clear()  # the browser itself reports a refused request as an error


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_no_request_leaves_the_origin(open_page, server, path):
    page = open_page(f"{server.url}{path}")
    page.wait_for_selector(".mark" if path == "/" else ".opblock")
    page.wait_for_load_state("networkidle")
    assert page.asked
    assert [url for url in page.asked if not url.startswith((server.url, "blob:", "data:"))] == []


def test_the_documentation_lists_every_route(open_page, server):
    page = open_page(f"{server.url}/docs")
    page.wait_for_selector(".opblock")
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    assert page.locator(".opblock").count() == sum(len(methods) for methods in paths.values())


@pytest.mark.parametrize("width", [360, 768])
def test_a_narrow_screen_does_not_overflow(open_page, server, width):
    page = open_page(f"{server.url}/", viewport={"width": width, "height": 800})
    drawn(page)
    assert page.evaluate(OVERFLOW) == 0


def test_the_theme_follows_the_system_and_can_be_changed(open_page, server):
    page = open_page(f"{server.url}/", color_scheme="dark")
    drawn(page)
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.click("#theme")
    assert page.evaluate(paper) != dark
    light = page.evaluate(paper)
    page.reload()
    assert page.evaluate(paper) == light


def test_everything_can_be_reached_with_the_keyboard(open_page, server):
    page = open_page(f"{server.url}/")
    drawn(page)
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className || document.activeElement.textContent"))
    assert {"API", "theme", "seed", "dice", "spread", "pick-class", "pick-style", "remove"} <= set(reached)


def test_every_picture_has_a_text_and_every_control_a_name(open_page, server):
    page = open_page(f"{server.url}/")
    drawn(page)
    assert page.evaluate("[...document.images].filter((one) => one.classList.contains('picture') && !one.alt).length") == 0
    unnamed = """[...document.querySelectorAll("input, button")].filter(
        (one) => !one.labels?.length && !one.getAttribute("aria-label") && !one.textContent.trim()).length"""
    assert page.evaluate(unnamed) == 0


def test_a_lost_server_is_said_and_the_page_recovers(open_page, illustrated):
    with serving(illustrated) as server:
        page = open_page(f"{server.url}/")
        drawn(page)
        page.context.set_offline(True)
        page.fill("#seed", "7")
        expect(page.locator("#state")).to_have_class("state down", timeout=WAIT_MS)
        assert "does not answer" in page.inner_text("#strip-error")
        page.context.set_offline(False)
        drawn(page, "7")
        expect(page.locator("#state")).to_have_class("state up", timeout=WAIT_MS)
        page.wrong.clear()  # the browser reports the requests that failed


def test_a_bundle_without_examples_shows_generated_pictures(open_page, toy_bundle):
    with serving(toy_bundle) as server:
        page = open_page(f"{server.url}/")
        drawn(page)
        assert page.locator(".matrix td .picture").count() == 16
