"""The page: whole, offline, escaped, the same every time."""

import json
import re
from itertools import pairwise

import pytest

from condgen.errors import UserError
from condgen.report import build_report


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


def test_nothing_is_fetched(hostile_run):
    html = (hostile_run / "report.html").read_text()
    assert set(re.findall(r"https?:[^\s\"'<>)]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.search(r"<(script|link|iframe|object|embed|base)\b", html)
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    assert not re.search(r"@import|url\((?!#)", html)
    assert "default-src 'none'" in html


def test_names_are_escaped_everywhere(hostile_run):
    html, markdown = ((hostile_run / name).read_text() for name in ("report.html", "report.md"))
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    outside_fences = re.sub(r"^(`{3,})text\n.*?^\1$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"(?<!\\)<script", outside_fences)


def test_every_reference_inside_the_page_is_met(hostile_run):
    html = (hostile_run / "report.html").read_text()
    named = set(re.findall(r'\bid="([^"]+)"', html))
    assert set(re.findall(r'(?:href="#|url\(#|aria-labelledby=")([\w.-]+)', html)) <= named
    assert "clip-path" in html  # curves stay inside their axes


@pytest.mark.parametrize("make", ["digits_run", "moons_run"])
def test_the_same_folder_gives_the_same_bytes(make, request):
    folder = request.getfixturevalue(make)()
    names = ("report.html", "report.md", "report.json")
    build_report(folder)
    first = [(folder / name).read_bytes() for name in names]
    build_report(folder)
    second = [(folder / name).read_bytes() for name in names]
    assert first == second


def test_the_page_can_be_heard_and_tabbed_through(hostile_run):
    html = (hostile_run / "report.html").read_text()
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


def test_class_wise_figures_and_the_meaning_of_methods_have_tables_of_their_own(digits_run):
    folder = digits_run()
    build_report(folder)
    markdown = (folder / "report.md").read_text()
    assert "| ce x10 | guided by ce at scale 10 |" in markdown
    overall, within = markdown.split("**Metrics by method**")[1].split(
        "**Within each class, averaged over the classes**"
    )
    assert "class-wise" not in overall
    assert "class-wise recall" in within.split("**")[0]
    assert "Reference: test split" in within.split("**Every")[0]
