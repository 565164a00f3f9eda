"""The page: whole, offline, escaped, the same every time."""

import json
import re
from itertools import pairwise

import pytest

from condgen.errors import UserError
from condgen.report import build_report

HOSTILE = "<script>alert(1)</script>"


def test_three_files_with_every_section(digits_run):
    folder = digits_run()
    page = build_report(folder)
    assert page == folder / "report.html"
    html, markdown = page.read_text(), (folder / "report.md").read_text()
    facts = json.loads((folder / "report.json").read_text())
    assert facts
    for title in ("What was run", "Samples", "Score errors", "Sample quality", "Cost", "Training", "How to reproduce"):
        assert title in html
        assert title in markdown
    assert html.count("data:image/png;base64,") == 40  # ten classes, four methods
    assert "condgen run recipes/digits.yaml" in html


def test_moons_show_the_likelihood_scores(moons_run):
    html = build_report(moons_run()).read_text()
    assert html.count("<svg") >= 6 + 4 + 3  # fields of three methods in two classes, points, errors
    assert "7.5" in html


@pytest.mark.parametrize("make", ["digits_run", "moons_run"])
def test_nothing_is_fetched(make, request):
    html = build_report(request.getfixturevalue(make)()).read_text()
    links = set(re.findall(r"https?://[^\s\"'<>)]+", html))
    assert all(
        link.startswith(("http://www.w3.org/", "http://purl.org/", "http://creativecommons.org/")) for link in links
    )
    assert not re.search(r"<(script|link|iframe|object|embed)\b", html)
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    assert "default-src 'none'" in html


@pytest.mark.parametrize("make", ["digits_run", "moons_run"])
def test_names_are_escaped_everywhere(make, request):
    arguments = ((HOSTILE, "a & b\"'"),) if make == "moons_run" else ((HOSTILE, *"123456789"), HOSTILE)
    folder = request.getfixturevalue(make)(*arguments)
    html = build_report(folder).read_text()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    outside_code = re.sub(r"```.*?```", "", (folder / "report.md").read_text(), flags=re.DOTALL)
    assert not re.search(r"(?<!\\)<script", outside_code)


@pytest.mark.parametrize("make", ["digits_run", "moons_run"])
def test_the_same_folder_gives_the_same_bytes(make, request):
    folder = request.getfixturevalue(make)()
    first = [(build_report(folder).parent / name).read_bytes() for name in ("report.html", "report.md", "report.json")]
    second = [(build_report(folder).parent / name).read_bytes() for name in ("report.html", "report.md", "report.json")]
    assert first == second


@pytest.mark.parametrize("make", ["digits_run", "moons_run"])
def test_the_page_can_be_heard_and_tabbed_through(make, request):
    html = build_report(request.getfixturevalue(make)()).read_text()
    assert '<html lang="en">' in html
    assert html.count("<h1") == 1
    assert html.count("<main") == html.count("<nav") == 1
    levels = [int(level) for level in re.findall(r"<h([1-6])", html)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for image in re.findall(r"<img [^>]*>", html):
        assert re.search(r'alt="[^"]+"', image)
    for drawing in re.findall(r"<svg [^>]*>", html):
        assert 'role="img"' in drawing or 'aria-hidden="true"' in drawing
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))
    for scroll in re.findall(r'<div class="scroll"[^>]*>', html):
        assert 'tabindex="0"' in scroll


def test_missing_parts_are_left_out_and_damaged_ones_named(digits_run, tmp_path):
    folder = digits_run()
    (folder / "diagnostics.json").unlink()
    (folder / "cost.json").unlink()
    html = build_report(folder).read_text()
    assert "Score errors" not in html
    (folder / "metrics.json").write_text('{"rows": [{"method": "a"}]}')
    with pytest.raises(UserError, match=r"metrics"):
        build_report(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="nothing to report"):
        build_report(tmp_path / "empty")
    with pytest.raises(UserError, match="none"):
        build_report(tmp_path / "none")
