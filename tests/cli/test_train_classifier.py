"""`condgen train-classifier`, and what reads a classifier: calibration and diagnosis."""

import pytest
import yaml

from condgen.checkpoint import load_tensors
from condgen.runs import read_json
from tests.cli.conftest import SMALL, bad, good

TINY = ("--steps", 2, "--batch", 8, "--set", f"classifier.{SMALL}")


def settings(folder):
    return yaml.safe_load((folder / "recipe.yaml").read_text())["classifier"]


@pytest.mark.parametrize(
    ("words", "objective"),
    [
        ((), {"loss": "dlsm", "ce_weight": 1.0}),
        (("--loss", "ce"), {"loss": "ce"}),
        (("--loss", "dlsm-cifar"), {"loss": "dlsm", "ce_weight": 0.25, "sigma_weight": 0.0}),
        (("--loss", "dlsm-pure", "--set", "classifier.objective.ce_weight=0.1"), {"loss": "dlsm", "ce_weight": 0.1}),
    ],
)
def test_losses_and_presets(words, objective, digits, tmp_path):
    good("train-classifier", "--score", digits / "score", *words, *TINY, "--out", tmp_path)
    found = settings(tmp_path)
    assert objective.items() <= found["objective"].items()
    assert load_tensors(tmp_path / "model.safetensors")[1]["kind"] == "classifier"


def test_a_backbone_of_timm(tmp_path):
    words = ("--loss", "ce", "--backbone", "test_resnet", "--steps", 1, "--batch", 4)
    good("train-classifier", *words, "--out", tmp_path)
    assert settings(tmp_path)["network"]["name"] == "test_resnet"


def test_the_schedule_is_that_of_the_score_model(digits, tmp_path):
    other = ("--set", "schedule={kind: edm, sigma_min: 0.03, sigma_max: 20}", "--set", f"score.{SMALL}")
    good("train-score", *other, "--steps", 1, "--batch", 8, "--out", tmp_path / "score")
    good("train-classifier", "--score", tmp_path / "score", *TINY, "--out", tmp_path / "c")
    assert yaml.safe_load((tmp_path / "c" / "recipe.yaml").read_text())["schedule"]["sigma_min"] == 0.03


def test_mistakes(digits, tmp_path):
    ce = digits / "classifier-ce"
    for words, message in (
        (("--score", tmp_path / "none"), "none"),
        (("--score", ce), "holds no score model"),
        (("--loss", "hinge"), "hinge"),
        (("--loss", "dlsm"), "run 'condgen train-score' first"),
    ):
        assert message in bad("train-classifier", *words, *TINY, "--out", tmp_path / "x")


def test_diagnosis_of_classifiers_and_of_labelled_models(digits, tmp_path):
    models = ("--score", digits / "score", "--classifier", digits / "classifier-dlsm")
    posterior = ("--posterior", digits / "score-told")
    good("diagnose", *models, *posterior, "--levels", "0.5,2", "--queries", 9, "--out", tmp_path / "d")
    rows = read_json(tmp_path / "d" / "diagnostics.json")["rows"]
    assert {row["sigma"] for row in rows} == {0.5, 2}
    assert {"score-told", "classifier-dlsm"} <= {row["method"] for row in rows if row["quantity"] == "D_P"}
    assert (tmp_path / "d" / "report.html").exists()
    other = ("--set", "methods={cfg: {score: score-told, guide: unlabelled, scale: 2}}")
    words = ("--score", digits / "score", *posterior, *other, "--levels", "1", "--queries", 9)
    good("diagnose", *words, "--out", tmp_path / "e")
    assert "cfg" in {row["method"] for row in read_json(tmp_path / "e" / "diagnostics.json")["rows"]}


def test_calibration_is_read_by_sampling(digits, tmp_path):
    import shutil

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
