"""`condgen report`: of one run into its folder, of several onto one page elsewhere."""

import json

import pytest


@pytest.fixture
def run(tmp_path):
    """A function that makes a run with two rows of figures."""

    def make(name, seed=0):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "recipe.yaml").write_text(f"name: tiny\nseed: {seed}\n")
        rows = [{"method": m, "metric": "recall", "value": 0.5 + seed / 10, "seed": seed} for m in ("ce", "dlsm")]
        (folder / "metrics.json").write_text(json.dumps({"rows": rows}))
        return folder

    return make


def test_one_run_is_reported_where_it_lies(run, condgen):
    folder = run("a")
    code, out, err = condgen("report", folder)
    assert (code, err) == (0, "")
    assert out == f"report: {folder / 'report.html'}\n"
    assert {"report.html", "report.md", "report.json"} <= {path.name for path in folder.iterdir()}


def test_several_are_compared_on_one_page(run, condgen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [run("a"), run("b", seed=1)]
    before = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    code, out, _ = condgen("report", *folders)
    assert code == 0
    assert out == f"report: {tmp_path / 'runs' / 'comparison' / 'report.html'}\n"
    facts = json.loads((tmp_path / "runs" / "comparison" / "report.json").read_text())
    assert [row["value"] for row in facts["rows"]["metrics"]] == [0.55, 0.55]
    assert before == [sorted(path.name for path in folder.iterdir()) for folder in folders]
    code, out, _ = condgen("report", *folders, "--out", tmp_path / "here")
    assert code == 0
    assert (tmp_path / "here" / "report.md").exists()


def test_mistakes_are_one_line(run, condgen, tmp_path):
    folder = run("a")
    for arguments, words in (
        ((folder, "--out", tmp_path / "x"), "--out is for comparisons"),
        ((folder, folder), "named twice"),
        ((folder, tmp_path), "holds nothing to compare"),
        ((folder, tmp_path / "none"), "is not a folder"),
    ):
        code, _, err = condgen("report", *arguments)
        assert code != 0
        assert words in err
        assert err.count("\n") == 1
    code, out, _ = condgen("report", "--help")
    assert "compare" in out
