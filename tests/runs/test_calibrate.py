"""Classifiers measured on held-out data: in the course of training, and in a stage of its own."""

import json
import shutil

import pytest
from finish import begin
from stages import ALONE, DIGITS, SCHEDULE, model_key, small_stage, train

from condgen import ScaleCurve, UserError, parse_data
from condgen.data.sets import load
from condgen.diagnostics.classifier_errors import LevelRow, calibrate
from condgen.recipes.schema import CalibrateRecipe
from condgen.runs.calibrate import Calibrate
from condgen.runs.folder import read_json, read_rows
from condgen.runs.models import Folders
from condgen.settings import parse

FEW = CalibrateRecipe(levels=(0.5, 1.5, 5), draws=1)
DLSM = small_stage("classifier", {"steps": 12, "save_every": 5, "log_every": 4})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    list(train(root / "score", small_stage("score")))
    list(train(root / "dlsm", DLSM, Folders(root / "score"), held_out=DIGITS.validation))
    return root


def looks(folder):
    return [row for row in read_rows(folder / "log.jsonl") if "levels" in row]


def test_training_is_looked_at_and_not_disturbed(trained, tmp_path):
    list(train(tmp_path / "dlsm", DLSM, Folders(trained / "score")))
    assert model_key(trained / "dlsm") == model_key(tmp_path / "dlsm")
    assert not looks(tmp_path / "dlsm")
    assert [row["step"] for row in looks(trained / "dlsm")] == [5, 10, 12]
    for row in looks(trained / "dlsm"):
        assert [level["n"] for level in row["levels"]] == [142] * 8
        assert all({"accuracy", "cross_entropy", "ece", "gain", "scale", "z"} <= set(level) for level in row["levels"])
        assert row["levels"][0]["sigma"] < 0.05 < 19 < row["levels"][-1]["sigma"]
    before, after = (looks(trained / "dlsm")[place]["levels"] for place in (0, -1))
    assert before != after


@pytest.mark.parametrize("stop_at", [4, 5, 11, 12])
def test_stopping_anywhere_leaves_the_same_looks(stop_at, trained, tmp_path):
    work = (train(tmp_path / "dlsm", DLSM, Folders(trained / "score"), held_out=DIGITS.validation) for _ in range(2))
    begin(next(work), stop_at)
    list(next(work))
    assert looks(tmp_path / "dlsm") == looks(trained / "dlsm")


def calibrated(root, classifier, stage=FEW, held_out=DIGITS.validation, name="calibrate dlsm"):
    return Calibrate(name, classifier / "calibration", stage, root / "score", held_out).run(ALONE)


@pytest.fixture
def classifier(trained, tmp_path):
    """A copy, into which a calibration can be written."""
    return shutil.copytree(trained / "dlsm", tmp_path / "classifier-dlsm")


def test_a_calibration_says_what_it_measured_and_gives_a_curve(trained, classifier):
    events = list(calibrated(trained, classifier))
    assert [(event.done, event.total) for event in events] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    found = read_json(classifier / "calibration" / "calibration.json")
    assert set(found) == {"what", "models", "curve", "rows"}
    assert found["what"]["split"] == "validation"
    assert (found["what"]["data"], found["what"]["n"], found["what"]["draws"]) == ("digits", 142, 1)
    rows = [LevelRow(**row) for row in found["rows"]]
    assert [row.sigma for row in rows] == [0.5, 1.5, 5]
    assert ScaleCurve.model_validate(found["curve"]) == calibrate(rows)
    assert not list(calibrated(trained, classifier))
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_stopped_calibration_goes_on(stop_at, trained, classifier, tmp_path):
    list(calibrated(trained, classifier))
    file = classifier / "calibration" / "calibration.json"
    whole = file.read_bytes()
    (classifier / "calibration").rename(tmp_path / "whole")
    begin(calibrated(trained, classifier), stop_at)
    log = classifier / "calibration" / "log.jsonl"
    assert len(read_rows(log)) == stop_at - 1
    if stop_at == 3:
        log.write_bytes(log.read_bytes()[:-9])  # as a crash would leave it
    list(calibrated(trained, classifier))
    assert file.read_bytes() == whole


def test_other_settings_calibrate_anew_and_may_look_at_some_of_the_images(trained, classifier):
    list(calibrated(trained, classifier))
    assert list(calibrated(trained, classifier, FEW.model_copy(update={"seed": 1, "most": 100})))
    assert len(list(classifier.glob("calibration.before-*"))) == 1
    found = read_json(classifier / "calibration" / "calibration.json")
    assert found["what"]["n"] == 100
    assert {row["n"] for row in found["rows"]} == {100}


def test_models_and_data_must_fit(trained, classifier, tmp_path):
    words = "one data set and one schedule for both"
    with pytest.raises(UserError, match=r"noise level 1000 is outside the schedule's range"):
        list(calibrated(trained, classifier, CalibrateRecipe(levels=(1, 1000))))
    with pytest.raises(UserError, match=words):
        list(calibrated(trained, classifier, held_out=load(parse_data("moons"), "test")))
    with pytest.raises(UserError, match="does not exist"):
        list(calibrated(trained, tmp_path / "none"))
    wide = r"noise of sigma_max 30\.0 against sigma_max 20\.0"
    for name, schedule, message in (("vp", {"kind": "vp"}, words), ("edm", SCHEDULE | {"sigma_max": 30}, wide)):
        list(train(tmp_path / name, small_stage("classifier", schedule=schedule, objective={"loss": "ce"})))
        with pytest.raises(UserError, match=message):
            list(calibrated(trained, tmp_path / name))
    with pytest.raises(UserError, match="noise levels must rise"):
        parse(CalibrateRecipe, {"levels": [2, 1]}, "calibrate")
