"""The page: whole, offline, escaped, the same every time; and its sentences, which the figures force."""

import json
import re
from itertools import pairwise

import pytest
from report.run_folders import metric

from condgen.errors import UserError
from condgen.metrics.measures import REAL
from condgen.report.build import build_report, sentences
from condgen.report.load import CostRow, GeneratorLog, PreviewRow, Run


def test_three_files_have_every_section(whole_run):
    html, markdown, facts = ((whole_run / f"report.{kind}").read_text() for kind in ("html", "md", "json"))
    titles = ["What was run", "Samples", "Score errors", "Classifiers by noise level", "One-step generators"]
    titles += ["Sample quality", "Nearest neighbours", "Cost", "Training", "How to reproduce"]
    titles[3] = "Likelihood-score fields" if (whole_run / "field.json").exists() else titles[3]
    titles += ["Where in the image"] * (whole_run / "pixels.json").exists()
    for title in titles:
        assert f">{title}</h2>" in html
        assert f"## {title}\n" in markdown
    rows = json.loads(facts)["rows"]
    assert rows["metrics"] == json.loads((whole_run / "metrics.json").read_text())["rows"]
    assert len(rows["diagnostics"]) == len(json.loads((whole_run / "diagnostics.json").read_text())["rows"])


def test_nothing_is_fetched_and_nothing_runs(whole_run):
    html = (whole_run / "report.html").read_text()
    allowed = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?:[^\s\"'<>)]+", html)) <= allowed
    assert not re.search(r"<(script|link|iframe|object|embed|base)\b", html)
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    assert not re.search(r"@import|url\((?!#)", html)
    assert "default-src 'none'" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    indented = re.compile("^    .*$", re.MULTILINE)
    assert not re.search(r"(?<!\\)<script", indented.sub("", (whole_run / "report.md").read_text()))


def test_references_headings_and_images_are_well_formed(whole_run):
    html = (whole_run / "report.html").read_text()
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))
    assert set(re.findall(r'(?:href="#|url\(#|aria-labelledby=")([\w.-]+)', html)) <= set(identifiers)
    levels = [int(level) for level in re.findall(r"<h([1-6])", html)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(re.search(r'alt="[^"]+"', image) for image in re.findall(r"<img [^>]*>", html))
    assert all('aria-label="' in drawing for drawing in re.findall(r"<svg [^>]*>", html))


@pytest.mark.parametrize("whole_run", ["digits"], indirect=True)
def test_the_same_folder_gives_the_same_bytes(whole_run):
    files = [whole_run / f"report.{kind}" for kind in ("html", "md", "json")]
    first = [file.read_bytes() for file in files]
    build_report(whole_run)
    assert [file.read_bytes() for file in files] == first


def test_missing_parts_are_left_out_and_damaged_ones_named(digits_run, tmp_path):
    for file in ("diagnostics.json", "classifiers.json", "metrics.json"):
        (digits_run / file).unlink()
    html = build_report(digits_run).read_text()
    assert ">Score errors</h2>" not in html
    assert ">Samples</h2>" in html
    (digits_run / "metrics.json").write_text('{"rows": [{"method": "ce"}]}')
    with pytest.raises(UserError, match=r"metrics\.json, rows, row 0: metric"):
        build_report(digits_run)
    (tmp_path / "empty").mkdir()
    for folder, words in (("empty", "holds nothing to report"), ("none", "is not a folder")):
        with pytest.raises(UserError, match=words):
            build_report(tmp_path / folder)


def test_points_of_other_than_two_dimensions_are_not_drawn(moons_run):
    (moons_run / "field.json").unlink()
    for file in moons_run.glob("samples/*/manifest.jsonl"):
        file.write_text(re.sub(r"\[(-?[\d.]+), (-?[\d.]+)\]", r"[\1, \2, 0.0]", file.read_text()))
    html = build_report(moons_run).read_text()
    assert ">Cost</h2>" in html
    assert ">Samples</h2>" not in html


BEST, GOOD, POOR, FAR = (0.99, 0.3), (0.98, 0.4), (0.70, 0.3), (0.99, 2.0)  # class accuracy, Fréchet distance


def rows(half=(0.01, 0.1), **methods):
    return [
        metric(m, name, value, h)
        for m, values in methods.items()
        for name, value, h in zip(("class accuracy", "FD@360"), values, half, strict=True)
    ]


def said(metrics=(), generators=(), **evaluations):
    cost = [CostRow(method=method, evaluations_per_image=value) for method, value in evaluations.items()]
    run = Run(folder=None, name="r", metrics=list(metrics), cost=cost, generators=dict(generators))
    return " ".join(sentences(run))


def test_those_that_none_beats_with_the_cheapest_first():
    assert said(rows(slow=BEST, quick=GOOD, far=FAR, poor=POOR), slow=20, quick=1, far=1, poor=1) == (
        "Use quick (evaluations a sample: 1) or slow (evaluations a sample: 20): in class accuracy and FD@360 none is "
        "better by more than the intervals."
    )
    assert said(rows(best=BEST, far=FAR, poor=POOR)).startswith("Use best (evaluations a sample: —): in")
    assert said(rows(right=FAR, near=POOR)) == ""


def test_distances_within_classes_come_before_those_over_all():
    found = [*rows(a=BEST, b=BEST), metric("a", "class-wise FD", 0.3, 0.01), metric("b", "class-wise FD", 9.0, 0.01)]
    assert said(found).startswith("Use a (evaluations a sample: —): in class accuracy and class-wise FD none")


@pytest.mark.parametrize("left", [{}, {"one": BEST}, {REAL: BEST, "one": BEST}])
def test_without_rivals_or_intervals_there_is_nothing_to_advise(left):
    assert said(rows(**left)) == ""
    assert said(rows((None, None), a=BEST, b=POOR)) == ""


@pytest.mark.parametrize(("share", "closer"), [(0.1, True), (0.5, False)])
def test_samples_closer_to_training_data_than_new_data(share, closer):
    found = [metric(m, "authenticity", v, 0.05) for m, v in (("a", share), ("b", 0.5), (REAL, 0.55))]
    assert ("a 0.100 ± 0.050 authentic samples" in said(found)) == closer


@pytest.mark.parametrize(("spread", "warned"), [(0.1, True), (0.8, False)])
def test_a_collapsed_generator_is_named(spread, warned):
    last = PreviewRow(step=9, std_ratio=spread, recall=0.4, accuracy=0.99, n=1000)
    text = said((), {"g": GeneratorLog(None, [last])})
    assert text.startswith("Beware of g: the generator has collapsed") == warned
