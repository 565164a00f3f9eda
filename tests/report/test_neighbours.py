"""Nearest neighbours: samples beside the training data most like them."""

import json
import re

import pytest

from condgen.errors import UserError
from condgen.report import build_report

NAMES = [str(i) for i in range(10)]


def section(folder):
    found = re.search(r'<section id="neighbours".*?</section>', build_report(folder).read_text(), re.DOTALL)
    return found and found.group()


def test_samples_stand_beside_their_neighbours_in_order(digits_run, and_neighbours):
    folder = digits_run()
    assert section(folder) is None
    and_neighbours(folder, NAMES)
    found = section(folder)
    alts = re.findall(r'alt="([^"]+)"', found)
    assert alts[:5] == [
        "Sample of class 0 by ce, seed 0",
        *(f"Training image {i} of class {i % 2}" for i in range(3)),
        "Sample of class 0 by ce, seed 1",
    ]
    assert len(alts) == 6 * 4
    shown, folded = found.split("<details>")
    assert (shown.count("<li>"), folded.count("<li>")) == (3, 3)
    assert re.findall(r"<span>(.*?)</span>", found)[:4] == ["sample", "0.5", "0.625 (1)", "0.75"]  # the other class
    assert "pixels" in found
    markdown = (folder / "report.md").read_text()
    assert "| 0, seed 0 | 0.5 | 0.625 (1) | 0.75 |" in markdown


def test_the_share_of_authentic_samples_stands_with_that_of_real_data(digits_run, and_neighbours):
    folder = digits_run()
    and_neighbours(folder, NAMES)
    assert "Authenticity by method" not in section(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    row = {"metric": "authenticity", "method": "ce", "value": 0.4, "low": 0.35, "high": 0.45, "floor": 0.62}
    metrics["rows"].append(row)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    found = section(folder)
    assert "Authenticity by method" in found
    assert "0.620" in found or "0.62" in found


def test_real_data_come_first_and_the_scale_of_the_place_is_told(digits_run, and_neighbours):
    folder = digits_run()
    and_neighbours(folder, NAMES)
    path = folder / "neighbours.json"
    whole = json.loads(path.read_text())
    whole["rows"].append(whole["rows"][0] | {"method": "real (held out)", "elsewhere": 1.25, "authentic": False})
    whole["what"]["samples"] = {"ce": 6, "dlsm": 6}
    path.write_text(json.dumps(whole))
    found = section(folder)
    assert re.findall(r"<h3>(.*?)</h3>", found) == [
        "real (held out): samples closest to training data",
        "ce: samples closest to training data",
    ]
    assert "<figcaption>0, seed 0 (1.25)</figcaption>" in found
    assert "6 by each method" in found


def test_points_have_a_table(moons_run, and_neighbours):
    folder = moons_run()
    and_neighbours(folder, ["upper", "lower"], points=True)
    found = section(folder)
    assert '<td class="words">0.5, 3</td>' in found
    assert "4.25 (upper); 4.38 (lower); 4.5 (upper)" in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": [{"method": "ce"}]}, r"neighbours\.json, row 0: class"),
        ({"rows": 3}, r"neighbours\.json: rows is not a list"),
    ],
)
def test_what_is_no_list_of_neighbours_is_named(change, message, digits_run):
    folder = digits_run()
    (folder / "neighbours.json").write_text(json.dumps(change))
    with pytest.raises(UserError, match=message):
        build_report(folder)
