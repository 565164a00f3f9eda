"""The live page in a real browser: what a person sees, clicks and types."""

import dataclasses
import re
import socket
import threading
import time

import pytest
import torch

uvicorn = pytest.importorskip("uvicorn", reason="the studio is missing: pip install 'condgen[studio]'")
pytestmark = pytest.mark.browser

HOSTILE = "<script>document.title = 'broken'</script>"


@pytest.fixture(scope="module")
def serve(digits_of_few_steps):
    """A function that serves the run, or the same with other names of classes, and gives its address."""
    from condgen.studio.app import Studio, build_app
    from condgen.studio.offer import read_offer

    running = []

    def call(**changes):
        offer = dataclasses.replace(read_offer(digits_of_few_steps), **changes)
        studio = Studio(offer, torch.device("cpu"))
        listener = socket.create_server(("127.0.0.1", 0))
        how = {"log_level": "critical", "ws": "none", "lifespan": "off", "timeout_graceful_shutdown": 0}
        server = uvicorn.Server(uvicorn.Config(build_app(studio), **how))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread, studio))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    yield call
    for server, thread, studio in running:
        server.should_exit = True
        thread.join(10)
        studio.close()


@pytest.fixture(scope="module")
def address(serve):
    return serve()


@pytest.fixture
def opened(page, address):
    """A function that opens the page, with settings in its address, and waits for samples."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))

    def call(query="", place=address):
        page.goto(place + query)
        page.wait_for_selector(".result:not([aria-busy]) .cell")
        return page

    yield call
    outside = [url for url in asked if not url.startswith(("data:", "blob:", "http://127.0.0.1:"))]
    assert not outside, f"requests to elsewhere: {outside}"


def seen(page, side=0):
    """What the pictures of a side are called."""
    result = page.locator(".result").nth(side)
    return [picture.get_attribute("alt") for picture in result.locator(".cell img").all()]


def settled(page, title):
    """Waits until a result of this title is shown."""
    page.wait_for_function(
        "title => [...document.querySelectorAll('.result:not([aria-busy]) h2')].some(h => h.textContent === title)",
        arg=title,
    )


def test_a_click_on_class_3_draws_class_3(opened):
    page = opened("?n=4&seed=9&a=one-step")
    assert len(seen(page)) == 40
    page.get_by_role("radio", name="3", exact=True).click()
    settled(page, "one-step, class 3")
    assert seen(page) == [f"class 3, seed {seed}" for seed in range(9, 13)]
    assert "4 samples · 1 evaluation each" in page.locator(".cost").first.text_content()


def test_two_settings_side_by_side_share_class_and_seed(opened):
    page = opened("?class=5&n=3&seed=4&a=ce")
    page.get_by_label("Compare two settings").check()
    settled(page, "B: one-step, class 5")
    assert seen(page, 0) == seen(page, 1) == [f"class 5, seed {seed}" for seed in (4, 5, 6)]
    page.get_by_role("button", name="Next seed").click()
    shown = "side => document.querySelectorAll('.result')[side].querySelector('img').alt === 'class 5, seed 5'"
    for side in (1, 0):
        page.wait_for_function(shown, arg=side)
    assert "b=one-step" in page.url
    assert "seed=5" in page.url
    page.locator(".result").first.locator(".cell").nth(1).click()
    chosen = page.locator(".result").nth(1).locator(".cell[aria-selected=true] img")
    assert chosen.get_attribute("alt") == "class 5, seed 6"


def test_the_address_brings_everything_back(opened):
    page = opened("?class=7&n=2&seed=3&a=ce")
    page.get_by_label("Sampler", exact=True).first.select_option("ddim")
    page.get_by_label("Evaluations").locator("visible=true").last.fill("6")
    page.get_by_label("Evaluations").locator("visible=true").last.press("Enter")
    page.wait_for_function("() => /6 evaluations each/.test(document.querySelector('.cost').textContent)")
    command = page.locator("pre").first.text_content()
    assert "--class 7 --per-class 2 --seed 3 --sampler ddim --nfe 6 --scale 1.5" in command
    pictures = [picture.get_attribute("src") for picture in page.locator(".cell img").all()]
    again = opened(page.url.partition("/?")[2].join(("?", "")))
    assert again.locator("pre").first.text_content() == command
    assert [picture.get_attribute("src") for picture in again.locator(".cell img").all()] == pictures


@pytest.mark.parametrize(
    "settings",
    [
        "options=null interval=5 scale=null nfe=-3 steps={} score=7 classifier={} guide=[] generator=false "
        "sampler=null grid=[] precision=1",
        'options=[1] interval=[1] scale=[] nfe="many" toString=1 __proto__=null',
        'options={"eta":{}} interval=["a","b"] scale={}',
        'interval={"0":1}',
    ],
)
def test_strange_values_in_the_address_are_left_out(opened, settings):
    page = opened("&a.".join(["?class=3&n=2&a=ce", *settings.split()]))
    settled(page, "ce, class 3")
    assert page.locator("#broken").is_hidden()
    assert page.locator(".result .problem").locator("visible=true").count() == 0
    assert seen(page) == ["class 3, seed 0", "class 3, seed 1"]


def test_the_keyboard_is_enough(opened):
    page = opened("?n=2&a=one-step")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the samples"
    page.keyboard.press("Tab")  # the classes, of which "all" is chosen
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    settled(page, "one-step, class 3")
    page.keyboard.press("Tab")
    page.keyboard.type("5")
    for _ in range(20):  # to the ready-made methods, wherever they are
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "a-method":
            break
    page.keyboard.press("ArrowLeft")
    settled(page, "own-steps, class 3")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "option":
            break
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.title") == "class 3, seed 1"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_mistake_is_one_line_on_the_page(opened):
    page = opened("?class=3&n=2&a=ce")
    page.get_by_label("Scale", exact=True).first.fill("1e30")
    page.get_by_label("Scale", exact=True).first.press("Enter")
    problem = page.get_by_role("alert").locator("visible=true")
    problem.wait_for()
    assert "cannot be used" in problem.text_content()
    page.get_by_label("Scale", exact=True).first.fill("1")
    page.get_by_label("Scale", exact=True).first.press("Enter")
    page.wait_for_function("() => !document.querySelector('.result .problem:not([hidden])')")


def test_only_the_newest_of_quick_changes_is_shown(opened):
    page = opened("?class=3&n=2&a=own-steps")
    for _ in range(12):
        page.get_by_role("button", name="Next seed").click()
    page.wait_for_function("() => document.querySelector('.cell img').alt === 'class 3, seed 12'")
    time.sleep(0.5)
    assert seen(page) == ["class 3, seed 12", "class 3, seed 13"]


def test_what_takes_long_is_drawn_when_asked_for_and_can_be_stopped(page, address):
    page.goto(f"{address}?class=3&n=250&a=ce&a.nfe=2000")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.wait_for_function("() => /drawing: evaluation \\d+ of 2000/.test(document.querySelector('.head').textContent)")
    page.get_by_role("button", name="Stop").click()
    assert page.get_by_role("alert").locator("visible=true").text_content() == "stopped"
    page.get_by_role("radio", name="one-step").click()
    settled(page, "one-step, class 3")
    assert page.get_by_role("button", name="Stop").count() == 0
    assert len(seen(page)) == 250


def test_names_that_are_markup_are_text(opened, serve):
    page = opened("?class=0&n=1&a=one-step", serve(names=(HOSTILE, "a & b", *"23456789"), name=HOSTILE))
    assert page.title() == f"{HOSTILE}: condgen studio"
    assert page.locator("h1").text_content() == HOSTILE
    assert seen(page) == [f"class {HOSTILE}, seed 0"]
    assert page.locator("script").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(opened, page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing: uv sync installs it")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    opened("?class=3&n=3&a=ce&b=one-step")
    settled(page, "B: one-step, class 3")
    for summary in page.locator("summary").locator("visible=true").all():
        summary.click()
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("query", ["?n=6&a=ce", "?class=3&n=6&a=own-steps&b=one-step"])
def test_it_fits_a_phone(opened, page, query):
    page.set_viewport_size({"width": 390, "height": 844})
    opened(query)
    for summary in page.locator("summary").locator("visible=true").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    small = page.evaluate(
        "[...document.querySelectorAll('button, select, .chip, .button')]"
        ".filter(e => e.offsetParent && e.getBoundingClientRect().height < 24).map(e => e.outerHTML)"
    )
    assert not small, small
    assert re.search(r"\d+ samples", page.locator(".cost").first.text_content())
