"""Numbers that are not finite, in every stage that measures or draws: found, named, and nowhere taken for figures."""

import math
import shutil

import pytest
import torch
from reliability import faults
from stages import ALONE, DIGITS, small_stage, train

from condgen import Classifier, ClassifierGuided, UserError
from condgen.metrics.features import Extractor, Features, Store
from condgen.recipes.guidance import Guidance, Method
from condgen.recipes.schema import CalibrateRecipe, DiagnoseRecipe, SampleStage
from condgen.runs.calibrate import Calibrate
from condgen.runs.diagnose import Diagnose
from condgen.runs.folder import read_rows
from condgen.runs.models import Folders
from condgen.runs.sample import Sample


@pytest.fixture
def planted(monkeypatch):
    """A function that plants a defect until the test ends."""

    def call(plant, *arguments):
        for owner in (Classifier, ClassifierGuided):
            monkeypatch.setattr(owner, "forward", owner.forward)  # put back in the end
        plant(*arguments)

    return call


@pytest.fixture
def run(digits_of_few_steps, tmp_path):
    return shutil.copytree(digits_of_few_steps, tmp_path / "run")


def test_calibration_names_the_level_and_writes_nothing(run, planted):
    planted(faults.bad_classifier, 0.1)
    folder, stage = run / "classifier-ce", CalibrateRecipe(levels=(0.05, 1))
    shutil.rmtree(folder / "calibration")
    with pytest.raises(UserError, match=r"the classifier gives numbers that are not finite at noise level 0\.05"):
        list(Calibrate("calibrate ce", folder / "calibration", stage, run / "score", DIGITS.validation).run(ALONE))
    assert not (folder / "calibration" / "calibration.json").exists()


def test_a_diagnosis_names_the_model_and_the_level(run, planted, tmp_path):
    planted(faults.bad_classifier, 0.1)
    stage = DiagnoseRecipe(levels=(1, 0.05), most=20, methods={"ce": Guidance(classifier="ce")})
    folders = Folders(run / "score", {}, {"ce": run / "classifier-ce"})
    words = r"the score of ce is not finite in float64 at noise level 0\.05, in 20 of 20 queries"
    with pytest.raises(UserError, match=words):
        list(Diagnose("diagnose", tmp_path / "d", stage, folders, *DIGITS[::2]).run(ALONE))
    assert not (tmp_path / "d" / "diagnostics.json").exists()


def test_features_that_are_not_finite_are_refused_and_not_kept(tmp_path):
    def spoilt(x):
        vectors = x.flatten(1).double()
        vectors[1, 0] = math.inf
        return Features(vectors)

    store = Store(Extractor("spoilt", spoilt, key="spoilt"), tmp_path)
    with pytest.raises(UserError, match="spoilt features of m are not finite for 1 of 4 samples"):
        list(store.of_samples(torch.zeros(4, 2), "m"))
    assert not list(tmp_path.iterdir())


def test_held_out_figures_that_are_not_finite_are_left_out_of_the_log(planted, tmp_path):
    planted(faults.bad_classifier, 0.1)
    density = {"kind": "log-normal", "mean": 1.0, "std": 0.1}
    stage = small_stage("classifier", objective={"loss": "ce"}, density=density)
    list(train(tmp_path / "c", stage, held_out=DIGITS.validation))
    (found,) = [row for row in read_rows(tmp_path / "c" / "log.jsonl") if "levels" in row]
    assert found["levels"]
    assert found["not_finite_at"]
    assert all(level < 0.1 for level in found["not_finite_at"])
    assert "NaN" not in (tmp_path / "c" / "log.jsonl").read_text()


def test_many_bad_samples_beside_good_ones_are_not_said_to_be_all(run, planted, tmp_path):
    planted(faults.bad_guidance, 3, 5.0)
    folders = Folders(run / "score", classifiers={"ce": run / "classifier-ce"})
    stage = SampleStage(method=Method(classifier="ce", nfe=3), classes=(3,) * 120 + (4,) * 30, n=150, batch=50)
    with pytest.raises(UserError, match="100 of 100 samples cannot be used"):
        list(Sample("sample", tmp_path / "s", stage, folders).run(ALONE))
    stage = SampleStage(method=Method(classifier="ce", nfe=3), classes=(4,) * 30 + (3,) * 120, n=150, batch=50)
    with pytest.raises(UserError, match="sample: 120 of 150 samples cannot be used, of class '3'; with seed 30 "):
        list(Sample("sample", tmp_path / "t", stage, folders).run(ALONE))
    assert len(list((tmp_path / "t").glob("*.png"))) == 30
