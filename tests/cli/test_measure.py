"""`condgen calibrate`, `evaluate` and `diagnose`."""

import shutil

from condgen.runs.folder import read_json
from tests.cli.conftest import bad, good


def test_diagnosis_of_classifiers_and_of_labelled_models(digits, tmp_path):
    models = ("--score", digits / "score", "--classifier", digits / "classifier-dlsm")
    posterior = ("--posterior", digits / "score-told")
    good("diagnose", *models, *posterior, "--levels", "0.5,2", "--most", 20, "--out", tmp_path / "d")
    rows = read_json(tmp_path / "d" / "diagnostics.json")["rows"]
    assert {row["sigma"] for row in rows} == {0.5, 2}
    differences = [row for row in rows if row["quantity"] == "held_out_difference"]
    assert {row["reference"] for row in differences} == {"zero guidance", "score-told"}
    assert {"score-told", "classifier-dlsm"} <= {row["method"] for row in differences}
    assert {row["n_images"] for row in differences} == {20}
    assert (tmp_path / "d" / "report.html").exists()
    other = ("--set", "methods={cfg: {score: score-told, guide: unlabelled, scale: 2}}")
    words = ("--score", digits / "score", *posterior, *other, "--levels", "1", "--most", 9)
    good("diagnose", *words, "--out", tmp_path / "e")
    assert "cfg" in {row["method"] for row in read_json(tmp_path / "e" / "diagnostics.json")["rows"]}


def test_calibration_is_read_by_sampling(digits, tmp_path):
    classifier = shutil.copytree(digits / "classifier-dlsm", tmp_path / "c")
    shutil.rmtree(classifier / "calibration")
    models = ("--score", digits / "score", "--classifier", classifier)
    asked = (*models, "--scale", "calibrated", "--per-class", 1, "--steps", 3, "--out", tmp_path / "s")
    assert "run 'condgen calibrate" in bad("sample", *asked)
    good("calibrate", *models, "--draws", 1, "--levels", "0.5,2")
    rows = read_json(classifier / "calibration" / "calibration.json")["rows"]
    assert [row["sigma"] for row in rows] == [0.5, 2]
    good("sample", *asked)
    assert "nothing left to do" in good("calibrate", *models, "--draws", 1, "--levels", "0.5,2")


def test_mistakes_of_diagnosis(digits, tmp_path):
    score, out = ("--score", digits / "score"), ("--out", tmp_path / "d")
    assert "nothing to diagnose" in bad("diagnose", *score, *out)
    assert "knows no labels" in bad("diagnose", *score, "--posterior", digits / "score" / "snapshots" / "2", *out)
    assert "two folders are called" in bad("diagnose", *score, *("--classifier", digits / "classifier-ce") * 2, *out)
    assert "no method uses" in bad(
        "diagnose", *score, "--classifier", digits / "classifier-ce", "--set", "methods={a: {scale: 1}}", *out
    )


def test_equal_samples_have_equal_figures(digits, tmp_path):
    command = ("sample", "--generator", digits / "generator-sid", "--n", 61)
    places, out = (tmp_path / "one", tmp_path / "other"), tmp_path / "e"
    for place in places:
        good(*command, "--out", place)
    good("evaluate", *places, "--out", out)
    rows = read_json(out / "metrics.json")["rows"]
    one, other = ([row["value"] for row in rows if row["method"] == place.name] for place in places)
    assert one == other
    assert "nothing left to do" in good("evaluate", *places, "--out", out)


def test_mistakes_of_evaluation(digits, tmp_path):
    samples = digits / "samples"
    assert "name them with --data" in bad("evaluate", tmp_path, "--out", tmp_path / "e")
    (tmp_path / "d").mkdir()
    assert "holds no class folders" in bad("evaluate", tmp_path / "d", "--data", "digits", "--out", tmp_path / "e")
    other = shutil.copytree(samples / "dlsm", tmp_path / "dlsm")
    assert "two folders are called 'dlsm'" in bad("evaluate", samples / "dlsm", other, "--out", tmp_path / "e")
    assert "measures.cas" in bad("evaluate", other, "--cas", "none", "--set", "measures.cas=magic", "--out", tmp_path)
