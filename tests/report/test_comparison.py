"""Several runs on one page: what differs, what is repeated, and never the best of several seeds."""

import json
import re
import shutil
import statistics

import pytest
import yaml

from condgen.errors import UserError
from condgen.report import build_report, compare_runs
from condgen.report.inputs import read_run
from condgen.report.runs import differing_settings, group_runs, read_runs


def change(folder, recipe=(), metric=None, error=None):
    """A run with other settings, and figures that are so many times what they were."""
    tree = yaml.safe_load((folder / "recipe.yaml").read_text()) | dict(recipe)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tree))
    for name, factor in (("metrics", metric), ("diagnostics", error)):
        found = json.loads((folder / f"{name}.json").read_text())
        for row in found["rows"]:
            for key in ("value", "low", "high", "mean", "sd"):
                if factor is not None and row.get(key) is not None:
                    row[key] *= factor
            if name == "metrics":
                row["seed"] = tree["seed"]
        (folder / f"{name}.json").write_text(json.dumps(found))
    return folder


@pytest.fixture
def three(digits_run, tmp_path):
    """One recipe with seeds 0, 1 and 2, whose figures are as 0.9 : 1 : 1.2."""
    original = digits_run()
    folders = [tmp_path / f"run-{seed}" for seed in range(3)]
    for seed, (folder, factor) in enumerate(zip(folders, (0.9, 1.0, 1.2), strict=True)):
        shutil.copytree(original, folder)
        change(folder, {"seed": seed}, factor, factor)
    return folders


def facts_of(folders, out):
    page = compare_runs(folders, out)
    return page.read_text(), (out / "report.md").read_text(), json.loads((out / "report.json").read_text())


def value(facts, kind, **wanted):
    (row,) = (r for r in facts["rows"][kind] if all(r[key] == v for key, v in wanted.items()))
    return row


def test_seeds_are_a_mean_and_a_standard_deviation(three, tmp_path):
    html, markdown, facts = facts_of(three, tmp_path / "out")
    assert facts["groups"] == [{"label": "digits, 3 seeds", "runs": 3, "seeds": [0, 1, 2]}]
    for kind, key in (("metrics", {"metric": "recall"}), ("diagnostics", {"quantity": "D_L", "sigma": 10.0})):
        runs = [json.loads((folder / f"{kind}.json").read_text())["rows"] for folder in three]
        name = "value" if kind == "metrics" else "mean"
        own = [r[name] for rows in runs for r in rows if r["method"] == "ce" and key.items() <= r.items()]
        row = value(facts, kind, method="ce", **key)
        assert len(own) == 3
        assert row["value"] == pytest.approx(statistics.fmean(own))
        assert row["high"] - row["value"] == pytest.approx(statistics.stdev(own))
        assert row["value"] != min(own)
    assert "± is the standard deviation over 3 seeds." in html
    assert "one recipe with seeds 0, 1, 2" in markdown
    assert "| seed | 0 | 1 | 2 |" in markdown


def test_other_recipes_stand_beside_each_other(three, tmp_path):
    change(three[2], {"seed": 0, "data": {"kind": "moons"}, "extra": {"deep": [1, 2]}}, error=2.0)
    html, markdown, facts = facts_of([three[0], three[2]], tmp_path / "out")
    assert [group["label"] for group in facts["groups"]] == ["run-0", "run-2"]
    assert facts["settings"] == {"data.kind": ["digits", "moons"], "extra.deep": [None, "[1, 2]"]}
    assert "The runs differ in 2 settings: data.kind, extra.deep." in html
    assert re.match(r"(Use|No method).*(of run-0|of run-2)", facts["advice"])
    first, second = (
        value(facts, "diagnostics", run=r, method="dlsm", quantity="D_P", sigma=10.0) for r in ("run-0", "run-2")
    )
    assert second["value"] / first["value"] == pytest.approx(2 * 1.2 / 0.9)
    panel = re.search(r'aria-label="D_P, the error of the posterior score, at σ = 0.05 to 10: (.*?)"', html).group(1)
    assert panel.startswith("run-0 (")
    assert "run-2 (" in panel
    assert "| dlsm | run-0 |" in markdown
    assert "| dlsm | run-2 |" in markdown
    for title in (
        "What was compared",
        "Sample quality",
        "Score errors",
        "Samples",
        "Cost",
        "Training",
        "How to reproduce",
    ):
        assert f">{title}</h2>" in html
    assert f"condgen report {three[0]} {three[2]} --out {tmp_path / 'out'}" in html


def test_a_recipe_that_was_run_twice_with_one_seed_is_no_spread(three):
    change(three[1], {"seed": 0})
    runs = read_runs(three[:2])
    assert [group.repeated for group in group_runs(runs)] == [False, False]
    assert differing_settings(runs) == {}


def test_runs_and_repeated_runs_on_one_page_say_which_is_which(three, tmp_path):
    change(three[2], {"seed": 5, "extra": 1})
    html, _, facts = facts_of(three, tmp_path / "out")
    assert [group["label"] for group in facts["groups"]] == ["digits, 2 seeds", "run-2"]
    assert "the standard deviation over 2 seeds, and half the length of the interval in rows of one run" in html


def test_real_data_are_no_rival(three, tmp_path):
    html, _, _ = facts_of(three, tmp_path / "out")
    table = re.search(r"<caption>Metrics by method and run</caption>.*?</table>", html, re.DOTALL).group()
    last = re.findall(r"<tr>(.*?)</tr>", table)[-1]
    assert "real (held out)" in last
    assert "best" not in last


def test_points_are_drawn_a_panel_a_run(moons_run, tmp_path):
    first = moons_run()
    second = shutil.copytree(first, tmp_path / "second")
    html, _, _ = facts_of([first, second], tmp_path / "out")
    assert html.count('aria-label="Points of second:') == 4  # methods
    assert "The recipes of the runs have the same settings." in html


def test_labels_take_as_much_of_the_path_as_they_need(digits_run, tmp_path):
    original = digits_run()
    for place in ("a/run", "b/run"):
        shutil.copytree(original, tmp_path / place)
    assert list(read_runs([tmp_path / "a/run", tmp_path / "b/run", original])) == [
        "a/run",
        "b/run",
        f"{tmp_path.name}/run",
    ]


def test_the_page_is_as_careful_as_a_report(hostile_run, tmp_path):
    other = shutil.copytree(hostile_run, tmp_path / "<script>alert(2)<")
    html, markdown, _ = facts_of([hostile_run, other], tmp_path / "out")
    assert "<script" not in html
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))
    assert set(re.findall(r'(?:href="#|url\(#|aria-labelledby=")([\w.-]+)', html)) <= set(identifiers)
    assert not re.search(
        r"(?<!\\)<script", re.sub(r"^(`{3,})text\n.*?^\1$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    )


def test_what_cannot_be_compared_is_named(digits_run, tmp_path):
    folder = digits_run()
    (tmp_path / "empty").mkdir()
    for folders, out, message in (
        ([folder, folder], "out", "named twice"),
        ([folder, tmp_path / "empty"], "out", "empty holds nothing to compare"),
        ([folder, tmp_path / "none"], "out", "none is not a folder"),
    ):
        with pytest.raises(UserError, match=message):
            compare_runs(folders, tmp_path / out)
    other = shutil.copytree(folder, tmp_path / "other")
    with pytest.raises(UserError, match="is the folder of a run"):
        compare_runs([folder, other], folder)
    build_report(folder)
    assert read_run(folder).metrics
