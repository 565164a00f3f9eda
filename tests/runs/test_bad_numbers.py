"""Numbers that are not finite, in every stage that measures or draws: found, named, and nowhere taken for figures."""

import json
import math
import shutil

import pytest
import torch
from reliability import faults

from condgen.checkpoint import load_tensors, save_tensors
from condgen.classifier import Classifier
from condgen.data import parse_data
from condgen.errors import UserError
from condgen.guidance import ClassifierGuided
from condgen.metrics.features import Extractor, Features, Store
from condgen.recipes import (
    CalibrateRecipe,
    ClassifierStage,
    DiagnoseRecipe,
    Guidance,
    Method,
    SampleStage,
)
from condgen.runs import Calibrate, Diagnose, Folders, Sample, Train
from condgen.score import ScoreModel
from condgen.training import Processes

ALONE = Processes(cpu=True)
DIGITS = parse_data("digits").load_all()


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
    shutil.copytree(digits_of_few_steps, tmp_path / "run")
    return tmp_path / "run"


def test_calibration_names_the_level_and_writes_nothing(run, planted):
    planted(faults.bad_classifier, 0.1)
    folder, stage = run / "classifier-ce", CalibrateRecipe(levels=(0.05, 1))
    shutil.rmtree(folder / "calibration")
    data = DIGITS.validation
    with pytest.raises(UserError, match=r"the classifier gives numbers that are not finite at noise level 0\.05"):
        list(Calibrate("calibrate ce", folder / "calibration", stage, run / "score", data).run(ALONE))
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


@pytest.mark.parametrize(("part", "kind"), [("score", ScoreModel), ("classifier-ce", Classifier)])
def test_weights_that_are_not_finite_are_refused_by_name(run, part, kind):
    path = run / part / "model.safetensors"
    tensors, about = load_tensors(path)
    name = sorted(tensors)[2]
    tensors[name].view(-1)[1] = -math.inf
    save_tensors(path, tensors, about)
    with pytest.raises(UserError, match=rf"model\.safetensors holds weights that are not finite .* in {name}"):
        kind.load(run / part)


def test_held_out_figures_that_are_not_finite_are_left_out_of_the_log(planted, tmp_path):
    planted(faults.bad_classifier, 0.1)
    stage = ClassifierStage.model_validate(
        {
            "data": {"kind": "digits"},
            "schedule": {"kind": "edm", "sigma_min": 0.02, "sigma_max": 20},
            "classifier": {
                "network": {"kind": "mlp", "width": 8, "depth": 1, "embedding": 8},
                "training": {"steps": 4, "batch": 8},
                "objective": {"loss": "ce"},
                "density": {"kind": "log-normal", "mean": 1.0, "std": 0.1},
            },
        }
    )
    list(Train("classifier c", tmp_path / "c", stage, DIGITS.train, held_out=DIGITS.validation).run(ALONE))
    rows = [json.loads(line) for line in (tmp_path / "c" / "log.jsonl").read_text().splitlines()]
    (found,) = [row for row in rows if "levels" in row]
    assert found["levels"]
    assert found["not_finite_at"]
    assert all(level < 0.1 for level in found["not_finite_at"])
    assert "NaN" not in (tmp_path / "c" / "log.jsonl").read_text()


def test_many_bad_samples_beside_good_ones_are_not_said_to_be_all(run, planted, tmp_path):
    planted(faults.bad_guidance, 3, 5.0)
    folders = Folders(run / "score", classifiers={"ce": run / "classifier-ce"})
    stage = SampleStage(method=Method(classifier="ce", nfe=3), classes=(3,) * 120 + (4,) * 30, n=150, batch=50)
    work = Sample("sample", tmp_path / "s", stage, folders).run(ALONE)
    with pytest.raises(UserError, match="100 of 100 samples cannot be used"):
        list(work)
    stage = SampleStage(method=Method(classifier="ce", nfe=3), classes=(4,) * 30 + (3,) * 120, n=150, batch=50)
    work = Sample("sample", tmp_path / "t", stage, folders).run(ALONE)
    with pytest.raises(UserError, match="sample: 120 of 150 samples cannot be used, of class '3'; with seed 30 "):
        list(work)
    assert len(list((tmp_path / "t").glob("*.png"))) == 30
