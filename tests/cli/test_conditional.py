"""Score models that know labels, and guidance without a classifier, at the command line."""

import json

from condgen.runs import read_rows


def test_conditional_models_choose_a_class_and_guide_themselves(condgen, tmp_path):
    train = ("train-score", "--batch", 16, "--set", "score.network.width=16")
    for more in (
        ("--conditional", "--steps", 4, "--set", "score.training.snapshots=[2]", "--out", tmp_path / "told"),
        ("--labels", "separate", "--steps", 2, "--out", tmp_path / "each"),
        ("--steps", 2, "--out", tmp_path / "plain"),
    ):
        code, _, err = condgen(*train, *more)
        assert code == 0, err
    assert "label_dropout: 0.1" in (tmp_path / "told" / "recipe.yaml").read_text()
    told = ("--score", tmp_path / "told")
    for name, options, evaluations in (
        ("alone", told, 3),
        ("one-a-class", ("--score", tmp_path / "each"), 3),
        ("free", (*told, "--guide", "unlabelled", "--scale", 2), 6),
        ("auto", (*told, "--guide", tmp_path / "told" / "snapshots" / "2", "--scale", "1.5"), 6),
    ):
        asked = ("--class", "3,7", "--per-class", 2, "--steps", 3, "--out", tmp_path / name)
        code, out, err = condgen("sample", *options, *asked)
        assert code == 0, err
        assert f"4 samples, {evaluations} network evaluations each" in out
        assert [row["class"] for row in read_rows(tmp_path / name / "manifest.jsonl")] == [3, 3, 7, 7]
    code, _, err = condgen("sample", "--score", tmp_path / "plain", "--class", "3", "--out", tmp_path / "no")
    assert (code, "train-score --conditional" in err) == (2, True)
    models = ("--score", tmp_path / "plain", "--posterior", tmp_path / "told", "--posterior", tmp_path / "each")
    code, out, err = condgen("diagnose", *models, "--levels", "1", "--queries", 9, "--out", tmp_path / "d")
    assert code == 0, err
    rows = json.loads((tmp_path / "d" / "diagnostics.json").read_text())["rows"]
    assert {"told", "each"} <= {row["method"] for row in rows if row["quantity"] == "D_P"}
