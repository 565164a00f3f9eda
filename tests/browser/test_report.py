"""Reports in a real browser: offline, by keyboard, for everybody's eyes, on paper and on a phone."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from condgen.report import build_report, compare_runs

pytestmark = pytest.mark.browser

_SPEC = importlib.util.spec_from_file_location("runs_of_tests", Path(__file__).parents[1] / "report" / "conftest.py")
runs = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(runs)

OPEN_ALL = "document.querySelectorAll('details').forEach(one => one.open = true)"


@pytest.fixture(scope="module")
def pages(tmp_path_factory, make_a_collapse):
    """The page of one run with everything that a report can show, and one that compares two runs."""
    root = tmp_path_factory.mktemp("runs")
    run = runs.make_digits(root / "one")
    names = [str(label) for label in range(10)]
    runs.add_trajectories(run, names)
    runs.add_neighbours(run, names)
    make_a_collapse(run / "generator-smm", names=names[:2])
    other = shutil.copytree(run, root / "other")
    return {"report": build_report(run).as_uri(), "comparison": compare_runs([run, other], root / "both").as_uri()}


@pytest.fixture(params=["report", "comparison"])
def address(request, pages):
    """Of one page and then of the other."""
    return pages[request.param]


def test_it_opens_with_no_network_and_no_error(page, address):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    assert page.locator("h1").is_visible()
    assert asked
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    broken = page.evaluate("[...document.images].filter(one => !one.complete || !one.naturalWidth).length")
    assert page.locator("img").count() > 0
    assert broken == 0


def test_everything_is_reached_in_order_by_the_tab_key(page, address):
    page.goto(address)
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.inner_text() == "Skip to the content"
    assert skip.bounding_box()["y"] >= 0  # it is seen once it has the focus
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.goto("about:blank")  # a page that is loaded again goes on from the fragment in its address
    page.goto(address)
    page.evaluate(
        "window.stops = [...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')]"
        ".filter(one => one.checkVisibility({contentVisibilityAuto: true}))"
    )
    expected = page.evaluate("window.stops.length")
    seen = []
    for _ in range(expected):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("window.stops.indexOf(document.activeElement)"))
    assert seen == list(range(expected))


def test_everything_folded_opens_by_keyboard(page, address):
    page.goto(address)
    folded = page.locator("details")
    assert folded.count() > 2
    for place in range(folded.count()):
        one = folded.nth(place)
        content = one.locator("summary ~ *").first
        assert not content.is_visible()
        one.locator("summary").focus()
        page.keyboard.press("Enter" if place % 2 else "Space")
        assert content.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_that_axe_knows_of_is_wrong(browser, pages, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="uv sync installs axe")
    for address in pages.values():
        context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # axe is a script, which the page forbids
        page = context.new_page()
        page.goto(address)
        page.evaluate(OPEN_ALL)
        found = axe.Axe().run(page)
        context.close()
        said = [(one["id"], one["nodes"][0]["html"][:200], len(one["nodes"])) for one in found.response["violations"]]
        assert said == []
        assert len(found.response["passes"]) > 10


def test_paper_shows_what_is_folded_on_the_screen(page, address):
    page.goto(address)
    page.emulate_media(media="print")
    hidden = "[...document.querySelectorAll('table, pre, img, svg')].filter(one => !one.getBoundingClientRect().height)"
    assert page.evaluate(f"{hidden}.length") == 0
    assert not page.locator("nav").is_visible()
    wide = "[...document.querySelectorAll('table')].filter(one => one.getBoundingClientRect().right > innerWidth + 1)"
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 with margins of 1 cm
    assert page.evaluate(f"{wide}.map(one => one.caption.innerText)") == []
    folded = len(re.findall(rb"/Type /Page\b", page.pdf(format="A4")))
    page.evaluate(OPEN_ALL)
    assert folded == len(re.findall(rb"/Type /Page\b", page.pdf(format="A4"))) > 3


@pytest.mark.parametrize("opened", [False, True])
def test_a_phone_needs_no_sideways_scrolling(page, address, opened):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(address)
    if opened:
        page.evaluate(OPEN_ALL)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.body.scrollWidth") <= 390


def test_no_name_runs_as_a_script(page, tmp_path):
    names = ("<script>document.title = 'broken'</script>", '"><img src=x onerror="document.title = \'broken\'">')
    run = runs.make_digits(tmp_path / "run", names, names[1])
    runs.add_trajectories(run, names)
    runs.add_neighbours(run, names)
    page.goto(build_report(run).as_uri())
    page.evaluate(OPEN_ALL)
    assert page.title() == f"{names[1]}: condgen report"
    assert page.locator("script").count() == 0
    assert page.locator("[onerror]").count() == 0
    assert names[0] in page.locator("main").text_content()
