"""Several runs on one page: what differs, what is repeated, and never the best of several seeds."""

import json
import re
import shutil
import statistics

import pytest
import yaml

from condgen.errors import UserError
from condgen.report.compare import compare_runs


def change(folder, recipe=(), factor=1.0):
    """A run with other settings, and figures that are so many times what they were."""
    tree = yaml.safe_load((folder / "recipe.yaml").read_text()) | dict(recipe)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tree))
    for name in ("metrics", "diagnostics"):
        found = json.loads((folder / f"{name}.json").read_text())
        for row in found["rows"]:
            row |= {key: row[key] * factor for key in ("value", "low", "high", "mean", "sd") if row.get(key)}
        (folder / f"{name}.json").write_text(json.dumps(found))
    return folder


@pytest.fixture
def three(digits_run, tmp_path):
    """One recipe with seeds 0, 1 and 2, whose figures are as 0.9 : 1 : 1.2."""
    folders = [tmp_path / f"run-{seed}" for seed in range(3)]
    for seed, (folder, factor) in enumerate(zip(folders, (0.9, 1.0, 1.2), strict=True)):
        change(shutil.copytree(digits_run, folder), {"seed": seed}, factor)
    return folders


def compared(folders, out):
    compare_runs(folders, out)
    html, markdown, facts = ((out / f"report.{kind}").read_text() for kind in ("html", "md", "json"))
    return html, markdown, json.loads(facts)


def value(facts, kind, **wanted):
    (row,) = (row for row in facts["rows"][kind] if wanted.items() <= row.items())
    return row


def test_seeds_are_a_mean_and_a_standard_deviation(three, tmp_path):
    html, markdown, facts = compared(three, tmp_path / "out")
    assert facts["groups"] == [{"label": "digits, 3 seeds (run-0, ...)", "runs": 3, "seeds": [0, 1, 2]}]
    for kind, name, key in (
        ("metrics", "value", {"metric": "recall"}),
        ("diagnostics", "mean", {"quantity": "D_L", "sigma": 10.0}),
    ):
        files = [json.loads((folder / f"{kind}.json").read_text())["rows"] for folder in three]
        own = [row[name] for rows in files for row in rows if {"method": "ce", **key}.items() <= row.items()]
        row = value(facts, kind, method="ce", **key)
        assert len(own) == 3
        assert row[name] == pytest.approx(statistics.fmean(own))
        assert row["high"] - row[name] == pytest.approx(statistics.stdev(own))
    assert "± is the standard deviation over 3 seeds." in html
    assert "| digits, 3 seeds (run-0, ...) | digits | 0, 1, 2 |" in markdown
    assert "| seed | 0 | 1 | 2 |" in markdown


def test_other_recipes_stand_side_by_side(three, tmp_path):
    change(three[2], {"seed": 0, "data": {"kind": "moons"}, "extra": {"deep": [1, 2]}}, 2.0)
    html, markdown, facts = compared([three[0], three[2]], tmp_path / "out")
    assert [group["label"] for group in facts["groups"]] == ["run-0", "run-2"]
    assert facts["settings"] == {"data.kind": ["digits", "moons"], "extra.deep": [None, "[1, 2]"]}
    key = {"quantity": "D_P", "sigma": 10.0}
    first, second = (value(facts, "diagnostics", method=f"dlsm, {run}", **key) for run in ("run-0", "run-2"))
    assert second["mean"] / first["mean"] == pytest.approx(2 * 1.2 / 0.9)
    label = re.search(r'aria-label="D_P: posterior score, [^"]*"', html)[0]
    assert "dlsm, run-0" in label
    assert "dlsm, run-2" in label
    assert "| dlsm, run-0 |" in markdown
    titles = ("What was compared", "Sample quality", "Score errors", "Samples", "Cost", "How to reproduce")
    for title in titles:
        assert f">{title}</h2>" in html
    assert "real (held out), " not in html or "best" not in html.split("real (held out)")[1].split("</tr>")[0]
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))


def test_repeated_runs_and_single_runs_say_which_is_which(three, tmp_path):
    change(three[2], {"seed": 5, "extra": 1})
    html, _, facts = compared(three, tmp_path / "out")
    assert [group["label"] for group in facts["groups"]] == ["digits, 2 seeds (run-0, ...)", "run-2"]
    assert "the standard deviation over 2 seeds, and half the length of the interval for single runs" in html


def test_points_are_drawn_a_panel_a_run_and_equal_seeds_are_no_spread(moons_run, tmp_path):
    second = shutil.copytree(moons_run, tmp_path / "other" / "run")
    html, _, facts = compared([moons_run, second], tmp_path / "out")
    assert [group["label"] for group in facts["groups"]] == [str(moons_run), str(second)]
    assert html.count(f'aria-label="Points of {second}:') == 3  # methods
    assert "No setting of their recipes differs." in html


def test_what_cannot_be_compared_is_named(digits_run, tmp_path):
    (tmp_path / "empty").mkdir()
    other = shutil.copytree(digits_run, tmp_path / "other")
    for folders, out, message in (
        ([digits_run, digits_run], "out", "named twice"),
        ([digits_run, tmp_path / "empty"], "out", "empty holds nothing to report"),
        ([digits_run, tmp_path / "none"], "out", "none is not a folder"),
        ([digits_run, other], "run", "is the folder of a run"),
    ):
        with pytest.raises(UserError, match=message):
            compare_runs(folders, tmp_path / out)


def test_samples_of_runs_whose_classes_differ_keep_their_names(digits_run, tmp_path):
    other = shutil.copytree(digits_run, tmp_path / "other")
    for path in (other / "samples").glob("*/manifest.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row | {"name": f"kind {row['class']}"}) + "\n" for row in rows))
    html, *_ = compared([digits_run, other], tmp_path / "out")
    shown = re.findall(r'alt="(Samples of class [^"]*)"', html)
    assert {text.rpartition(": ")[2] for text in shown if "kind" in text} == {"other"}
    assert {text.rpartition(": ")[2] for text in shown if "kind" not in text} == {"run"}
