"""Guidance by classifier, by a missing label and by a weaker model, on real model folders."""

import json
import shutil

import pytest
import torch
from finish import begin
from stages import ALONE, DIGITS, model_key, small_stage, train

from condgen import ScoreModel, UserError
from condgen.checkpoint import load_tensors
from condgen.recipes.guidance import Guidance, Method
from condgen.recipes.schema import DiagnoseRecipe, SampleStage
from condgen.runs.diagnose import Diagnose, loss_of, with_defaults
from condgen.runs.folder import read_json, read_rows
from condgen.runs.models import Folders
from condgen.runs.sample import Sample
from condgen.runs.sample_folder import read_samples

SNAPSHOTS = {"steps": 6, "save_every": 4, "snapshots": [3, 5]}
TOLD = small_stage("score", SNAPSHOTS, labels="embedding")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    list(train(root / "none", small_stage("score")))
    list(train(root / "told", TOLD))
    list(train(root / "each", small_stage("score", labels="separate")))
    for loss in ("ce", "dlsm"):
        list(train(root / loss, small_stage("classifier", objective={"loss": loss}), Folders(root / "none")))
    return root


def test_a_snapshot_is_the_average_after_that_step_and_loads_as_a_model(trained, tmp_path):
    assert sorted(path.name for path in (trained / "told" / "snapshots").iterdir()) == ["3", "5"]
    begin(train(tmp_path / "s", TOLD), 5)  # which saves the state after five steps
    state, _ = load_tensors(tmp_path / "s" / "state" / "state.safetensors")
    snapshot = ScoreModel.load(trained / "told" / "snapshots" / "5")
    assert snapshot.config == ScoreModel.load(trained / "told").config
    for name, tensor in snapshot.state_dict().items():
        assert torch.equal(tensor, state[f"ema/{name}"])
    list(train(tmp_path / "s", TOLD))
    for place in (".", "snapshots/3", "snapshots/5"):
        assert model_key(tmp_path / "s" / place) == model_key(trained / "told" / place), place


LABELS, CALIBRATED = (3, 3, 7, 7, 0), {"classifier": "c", "scale": "calibrated"}


def draw(folder, method, folders, labels=LABELS):
    stage = SampleStage(method=Method(sampler="heun", steps=4, **method), classes=labels, n=len(labels), seed=5)
    events = list(Sample("sample", folder, stage, folders).run(ALONE))
    return events, read_samples(folder)[0] if events else None


@pytest.mark.parametrize(
    ("method", "score", "guide", "evaluations"),
    [
        ({}, "none", "", 7),
        ({}, "told", "", 7),
        ({}, "each", "", 7),
        ({"classifier": "c", "scale": 2}, "none", "", 7),
        ({"classifier": "c", "scale": 2}, "told", "", 7),
        ({"guide": "unlabelled", "scale": 2}, "told", "", 14),
        ({"guide": "unlabelled", "scale": 1}, "told", "", 7),
        ({"guide": "unlabelled", "scale": 2, "interval": (5, 50)}, "told", "", 8),
        ({"guide": "early", "scale": 2}, "told", "told/snapshots/3", 14),
        ({"guide": "none", "scale": 2}, "each", "none", 14),
    ],
)
def test_every_guidance_draws_and_its_evaluations_are_counted(method, score, guide, evaluations, trained, tmp_path):
    classifiers = {"c": trained / "ce"} if "classifier" in method else {}
    folders = Folders(trained / score, {method["guide"]: trained / guide} if guide else {}, classifiers)
    _, x = draw(tmp_path / "s", method, folders)
    assert x.shape == (5, 1, 8, 8)
    assert read_json(tmp_path / "s" / "stage.json")["evaluations_per_image"] == evaluations
    assert ("guide" in read_rows(tmp_path / "s" / "manifest.jsonl")[0]) == bool(method)
    assert not draw(tmp_path / "s", method, folders)[0]


def calibrate(folder, score, levels, scales):
    (folder / "calibration").mkdir(exist_ok=True)
    models = {"classifier": model_key(folder), "score": model_key(score)}
    value = {"what": {}, "models": models, "curve": {"levels": levels, "scales": scales}, "rows": []}
    (folder / "calibration" / "calibration.json").write_text(json.dumps(value))


@pytest.fixture
def calibrated(trained, tmp_path):
    """A copy of the cross-entropy classifier, whose calibration says 3 everywhere."""
    copy = shutil.copytree(trained / "ce", tmp_path / "ce")
    calibrate(copy, trained / "none", [0.1, 10], [3, 3])
    return copy


def test_a_calibrated_scale_is_read_and_its_change_is_seen(trained, calibrated, tmp_path):
    folders, method = Folders(trained / "none", classifiers={"c": calibrated}), CALIBRATED
    _, by_curve = draw(tmp_path / "curve", method, folders)
    _, by_number = draw(tmp_path / "number", {"classifier": "c", "scale": 3}, folders)
    torch.testing.assert_close(by_curve, by_number, rtol=0, atol=1e-6)
    assert not draw(tmp_path / "curve", method, folders)[0]
    calibrate(calibrated, trained / "none", [0.1, 10], [0, 0])
    _, unguided = draw(tmp_path / "curve", method, folders)
    assert torch.equal(unguided, draw(tmp_path / "plain", {}, folders)[1])


def test_a_calibration_belongs_to_its_score_model(trained, calibrated, tmp_path):
    with pytest.raises(UserError, match="measured with another score model"):
        draw(tmp_path / "other", CALIBRATED, Folders(trained / "told", classifiers={"c": calibrated}))


def test_a_model_cannot_guide_itself(trained, tmp_path):
    with pytest.raises(UserError, match="did you mean --guide unlabelled"):
        draw(tmp_path / "own", {"guide": "early", "scale": 2}, Folders(trained / "told", {"early": trained / "told"}))


def test_default_methods_follow_loss_and_calibration(trained, calibrated):
    losses = {"ce": loss_of(calibrated), "dlsm": loss_of(trained / "dlsm")}
    recipe = with_defaults(DiagnoseRecipe(levels=(1,)), losses, ["ce"], ["told"])
    assert recipe.references == ("zero guidance", "ce", "told")
    assert recipe.methods.pop("told") == Guidance(score="told")
    assert {name: (one.classifier, one.scale) for name, one in recipe.methods.items()} == {
        "ce": ("ce", 1.0),
        "ce x10": ("ce", 10.0),
        "ce, calibrated": ("ce", "calibrated"),
        "dlsm": ("dlsm", 1.0),
    }


def test_every_method_has_its_errors(trained, calibrated, tmp_path):
    methods = {
        **{f"ce x{scale}": Guidance(classifier="ce", scale=scale) for scale in (1, 10)},
        "ce, calibrated": Guidance(classifier="ce", scale="calibrated"),
        "three": Guidance(classifier="ce", scale=3),
        "told": Guidance(score="told"),
        "cfg": Guidance(score="told", guide="unlabelled", scale=2),
        "cfg at 1": Guidance(score="told", guide="unlabelled"),
        "auto": Guidance(score="told", guide="score", scale=2),
        "each": Guidance(score="each"),
        "none": Guidance(),
    }
    folders = Folders(trained / "none", {"told": trained / "told", "each": trained / "each"}, {"ce": calibrated})
    stage = DiagnoseRecipe(
        levels=(0.5, 2), queries=12, most=20, draws=1, oracle=True, methods=methods, references=("told",)
    )

    def diagnose():
        return list(Diagnose("diagnose", tmp_path / "d", stage, folders, *DIGITS[::2]).run(ALONE))

    assert diagnose()
    found = read_json(tmp_path / "d" / "diagnostics.json")
    errors = {
        (row["method"], row["quantity"]): row["mean"]
        for row in found["rows"]
        if row["sigma"] == 2 and row.get("weighting") == "data"
    }
    guided = {"ce x1", "ce x10", "ce, calibrated", "three"}
    assert {method for method, quantity in errors if quantity == "D_P"} == {*methods, "zero guidance"}
    assert {method for method, quantity in errors if quantity == "D_L"} == {*guided, "zero guidance"}
    assert errors["ce, calibrated", "D_P"] == pytest.approx(errors["three", "D_P"])
    assert errors["cfg at 1", "D_P"] == errors["told", "D_P"]
    held_out = {row["method"]: row for row in found["rows"] if row["quantity"] == "held_out_difference"}
    assert held_out.keys() == {*methods, "zero guidance"} - {"told"}
    assert held_out["cfg at 1"]["mean"] == held_out["cfg at 1"]["se"] == 0
    assert held_out["none"]["mean"] == held_out["zero guidance"]["mean"]
    at_test = {row["method"] for row in found["rows"] if row.get("weighting") == "held_out"}
    assert at_test == {*methods, "zero guidance", "prior"}
    assert errors["none", "D_P"] == pytest.approx(errors["zero guidance", "D_P"])
    different = ("ce x1", "ce x10", "three", "told", "cfg", "auto", "each")
    assert len({round(errors[name, "D_P"], 9) for name in different}) == 7
    assert found["what"]["methods"]["cfg"] == "score model told, guided by itself without label at scale 2"
    assert not diagnose()
    calibrate(calibrated, trained / "none", [1], [2])
    assert diagnose()  # the calibration is an input
    for change, message in (
        ({"main": trained / "each"}, "no unconditional score"),
        ({"scores": {}}, "there is no score model 'told' among: none"),
    ):
        with pytest.raises(UserError, match=message):
            list(Diagnose("diagnose", tmp_path / "e", stage, folders._replace(**change), *DIGITS[::2]).run(ALONE))
