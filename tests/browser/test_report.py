"""Reports in a real browser: offline, by keyboard, for everybody's eyes, on paper and on a phone."""

import re
import shutil

import pytest
from report.run_folders import COLLAPSED, add_neighbours, make_digits

from condgen.report.build import build_report
from condgen.report.compare import compare_runs

pytestmark = pytest.mark.browser

NAMES = ("<script>document.title = 'broken'</script>", '"><img src=x onerror="document.title = \'broken\'">', "c", "d")
OPEN_ALL = "document.querySelectorAll('details').forEach(one => one.open = true)"


@pytest.fixture(scope="module")
def pages(tmp_path_factory, make_a_generator):
    """The page of a run with everything that a report can show and hostile names, and one that compares two runs."""
    root = tmp_path_factory.mktemp("runs")
    run = make_digits(root / "one", NAMES, NAMES[1])
    add_neighbours(run, NAMES)
    make_a_generator(run / "generator-smm", COLLAPSED, names=NAMES[:2])
    compare_runs([run, shutil.copytree(run, root / "other")], root / "both")
    return [build_report(run).as_uri(), (root / "both" / "report.html").as_uri()]


def test_it_opens_offline_and_no_name_runs(page, pages):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[0])
    assert page.locator("h1").is_visible()
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert page.locator("img").count() > 0
    assert page.evaluate("[...document.images].filter(one => !one.complete || !one.naturalWidth).length") == 0
    assert page.title() == f"{NAMES[1]}: condgen report"
    assert page.locator("script, [onerror]").count() == 0
    assert NAMES[0] in page.locator("main").text_content()


def test_everything_is_reached_and_opened_by_keyboard(page, pages):
    page.goto(pages[0])
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the content"
    page.evaluate(
        "window.stops = [...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')]"
        ".filter(one => one.checkVisibility({contentVisibilityAuto: true}))"
    )
    for place in range(1, page.evaluate("window.stops.length")):
        page.keyboard.press("Tab")
        assert page.evaluate("window.stops.indexOf(document.activeElement)") == place
    one = page.locator("details").first
    one.locator("summary").focus()
    page.keyboard.press("Enter")
    assert one.locator("summary ~ *").first.is_visible()


@pytest.mark.parametrize(("scheme", "which"), [("light", 0), ("dark", 1)])
def test_axe_finds_nothing_wrong(browser, pages, scheme, which):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="uv sync installs axe")
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # axe is a script, which the page forbids
    page = context.new_page()
    page.goto(pages[which])
    page.evaluate(OPEN_ALL)
    found = axe.Axe().run(page)
    context.close()
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found.response["violations"]] == []


def test_paper_shows_what_is_folded_on_the_screen(page, pages):
    page.goto(pages[0])
    page.emulate_media(media="print")
    hidden = "[...document.querySelectorAll('table, pre, img, svg')].filter(one => !one.getBoundingClientRect().height)"
    assert page.evaluate(f"{hidden}.length") == 0
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 with margins of 1 cm
    wide = "[...document.querySelectorAll('table')].filter(one => one.getBoundingClientRect().right > innerWidth + 1)"
    assert page.evaluate(f"{wide}.map(one => one.caption.innerText)") == []
    assert len(re.findall(rb"/Type /Page\b", page.pdf(format="A4"))) > 3


def test_a_phone_needs_no_sideways_scrolling(page, pages):
    page.set_viewport_size({"width": 390, "height": 844})
    for address in pages:
        page.goto(address)
        page.evaluate(OPEN_ALL)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
