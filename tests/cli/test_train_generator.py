"""Training a generator from the command line: every option, every refusal, and stopping on the way."""

import signal

import pytest
import torch
import yaml

from condgen.checkpoint import load_tensors
from condgen.data import load, parse_data
from condgen.recipes import ClassifierStage, ScoreStage
from condgen.runs import Models, read_rows, train_stage
from condgen.training import Processes

ALONE = Processes(cpu=True)
DIGITS = load(parse_data("digits"), "train")
NETWORK = {"kind": "mlp", "width": 16, "depth": 1, "embedding": 8}
TRAINING = {"steps": 2, "batch": 16}
SMALL = ("--steps", 2, "--batch", 16, "--set", "generator.preview_every=100")
TINY = tuple(
    part
    for key in ("network.width=16", "objective.network.width=16", "objective.network.depth=1")
    for part in ("--set", f"generator.{key}")
)
RECIPE = """
name: small
data: {kind: digits}
schedule: {kind: edm}
score: {network: {kind: mlp, width: 16}, training: {steps: 2}}
classifiers: {ce: {network: {kind: mlp, width: 16}, objective: {loss: ce}, training: {steps: 2}}}
generators:
  taught: {objective: {loss: sid}, teacher: {classifier: ce}, training: {steps: 2, batch: 16}, preview_every: 100}
  rated:
    objective: {loss: dmd, network: {kind: mlp, width: 16}, denoiser_steps: 1}
    likelihood: {classifier: ce, weight: 0.3}
    training: {steps: 2, batch: 16}
    preview_every: 100
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A score model that knows no labels, one that does, a weaker one, one of other data, and a classifier."""
    root = tmp_path_factory.mktemp("models")
    about = {"data": {"kind": "digits"}, "schedule": {"kind": "edm"}}
    for name, more in (("plain", {}), ("told", {"labels": "embedding"}), ("weak", {"labels": "embedding"})):
        tree = {"score": {"network": NETWORK, "training": TRAINING} | more, "seed": int(name == "weak")}
        list(train_stage(name, root / name, ScoreStage.model_validate(about | tree), DIGITS, ALONE))
    moons = load(parse_data("moons"), "train")
    tree = {"data": {"kind": "moons"}, "score": {"network": NETWORK, "labels": "embedding", "training": TRAINING}}
    list(train_stage("moons", root / "moons", ScoreStage.model_validate(about | tree), moons, ALONE))
    tree = {"classifier": {"network": NETWORK, "objective": {"loss": "ce"}, "training": TRAINING}}
    list(train_stage("ce", root / "ce", ClassifierStage.model_validate(about | tree), DIGITS, ALONE, Models()))
    (root / "small.yaml").write_text(RECIPE)
    return root


def settings(folder):
    return yaml.safe_load((folder / "recipe.yaml").read_text())["generator"]


@pytest.mark.parametrize(
    ("options", "loss", "objective"),
    [
        ((), "sid", {"alpha": 1.0, "denoiser_steps": 2}),
        (("--loss", "dmd"), "dmd", {"denoiser_steps": 2}),
        (("--loss", "smm"), "smm", {"critic_steps": 3, "critic_lr": 1e-3, "draws": 2}),
        (("--preset", "smm"), "smm", {"critic_steps": 3, "critic_lr": 1e-3}),
        (("--preset", "smm-paper"), "smm", {"critic_steps": 1, "critic_lr": 2e-4}),
        (("--preset", "smm-paper", "--set", "generator.objective.critic_steps=2"), "smm", {"critic_steps": 2}),
    ],
)
def test_every_loss_and_preset_trains(options, loss, objective, condgen, tmp_path):
    code, out, err = condgen("train-generator", *options, *SMALL, *TINY, "--out", tmp_path)
    assert code == 0, err
    assert "digits: 1,437 8x8 images, 10 classes" in out
    assert f"generator {loss}: 2 of 2" in out
    assert "accuracy" in out  # the look at the end
    found = settings(tmp_path)["objective"]
    assert found["loss"] == loss
    assert objective.items() <= found.items()
    assert load_tensors(tmp_path / "model.safetensors")[1]["kind"] == "generator"
    code, out, _ = condgen("train-generator", *options, *SMALL, *TINY, "--out", tmp_path)
    assert (code, "nothing left to do" in out) == (0, True)


def test_teachers_of_every_kind(models, condgen, tmp_path):
    for name, options, teacher in (
        ("guided", ("plain", "--classifier", models / "ce", "--scale", 2), {"classifier": "ce", "scale": 2.0}),
        ("told", ("told",), {"classifier": None, "guide": None, "scale": 1.0}),
        ("free", ("told", "--guide", "unlabelled", "--scale", "1.5"), {"guide": "unlabelled", "scale": 1.5}),
        ("auto", ("told", "--guide", models / "weak", "--loss", "dmd"), {"guide": f"{models.name}/weak"}),
    ):
        first, *more = options
        code, _, err = condgen("train-generator", "--teacher", models / first, *more, *SMALL, "--out", tmp_path / name)
        assert code == 0, err
        found = settings(tmp_path / name)
        assert teacher.items() <= found["teacher"].items()
        assert found["network"] is found["objective"]["network"] is None
        about = load_tensors(tmp_path / name / "model.safetensors")[1]
        of_teacher = load_tensors(models / first / "model.safetensors")[1]
        assert about["network"] == of_teacher["network"]
        assert about["level"] == pytest.approx(5 * of_teacher["sigma_data"])
        assert {"loss", "fake_dsm"} <= read_rows(tmp_path / name / "log.jsonl")[-2].keys()


def test_terms_beside_the_loss(models, condgen, tmp_path):
    terms = ("--likelihood", models / "ce", "--likelihood-weight", 0.5, "--augment", 0.3)
    code, _, err = condgen("train-generator", *terms, "--flip", *SMALL, *TINY, "--out", tmp_path / "all")
    assert code == 0, err
    found = settings(tmp_path / "all")
    assert (found["likelihood"]["classifier"], found["likelihood"]["weight"]) == ("ce", 0.5)
    assert (found["training"]["flip"], found["augment"]["probability"]) == (True, 0.3)
    assert any("likelihood" in row for row in read_rows(tmp_path / "all" / "log.jsonl"))
    default = ("--likelihood", models / "ce", "--loss", "smm")
    code, _, err = condgen("train-generator", *default, *SMALL, *TINY, "--out", tmp_path / "one")
    assert code == 0, err
    assert settings(tmp_path / "one")["likelihood"]["weight"] == 0.01


def test_a_recipe_and_single_settings(models, condgen, tmp_path):
    recipe = ("--recipe", models / "small.yaml")
    taught = ("--teacher", models / "plain", "--classifier", models / "ce")
    changes = ("--lr", 0.002, "--seed", 3, "--set", "generator.objective.alpha=1.2", "--set", "generator.level=4")
    code, _, err = condgen("train-generator", *recipe, *taught, *changes, "--out", tmp_path / "taught")
    assert code == 0, err
    found = settings(tmp_path / "taught")
    assert (found["training"]["lr"], found["objective"]["alpha"], found["level"]) == (0.002, 1.2, 4.0)
    rated = ("--loss", "dmd", "--likelihood", models / "ce")
    code, _, err = condgen("train-generator", *recipe, *rated, "--out", tmp_path / "rated")
    assert code == 0, err
    assert settings(tmp_path / "rated")["likelihood"]["weight"] == 0.3  # the recipe's


def test_every_mistake_is_one_line_that_says_what_to_do(models, condgen, tmp_path):
    plain, told, ce = models / "plain", models / "told", models / "ce"
    recipe = ("--recipe", models / "small.yaml")
    for options, message in (
        (("--loss", "smm", "--teacher", told), "has no teacher: leave --teacher out, or choose --loss sid or dmd"),
        (("--preset", "smm-paper", "--teacher", told), "has no teacher"),
        (("--set", "generator.objective={loss: dmd, network: {kind: mlp}}"), "--set makes the loss dmd"),
        (("--preset", "smm", "--loss", "dmd"), "leave one of the two out"),
        (("--classifier", ce), "name one with --teacher DIR"),
        (("--guide", "unlabelled"), "name one with --teacher DIR"),
        (("--scale", "2"), "name one with --teacher DIR"),
        (("--likelihood-weight", "0.1"), "name its folder with --likelihood DIR"),
        (("--likelihood", ce, "--likelihood-weight", "0"), "above 0, not 0: leave --likelihood out"),
        (("--likelihood", tmp_path / "none"), "train it first, or name its folder"),
        (("--likelihood", plain), "holds a score model, where a classifier is needed"),
        (("--teacher", tmp_path / "none"), "holds no score model: name the folder that condgen train-score"),
        (("--teacher", ce), "holds no score model, but something else: check which folder goes with which option"),
        (("--teacher", plain), "add a classifier that guides it (--classifier DIR), or name one trained with --cond"),
        (("--teacher", plain, "--guide", "unlabelled", "--scale", "2"), "train-score --conditional"),
        (("--teacher", told, "--scale", "2"), "name a classifier or a guide"),
        (("--teacher", told, "--scale", "much"), "a finite number, or the word calibrated"),
        (("--teacher", plain, "--classifier", ce, "--guide", "unlabelled"), "not both"),
        (("--teacher", plain, "--classifier", ce, "--scale", "calibrated"), "run 'condgen calibrate"),
        (("--teacher", plain, "--classifier", told), "holds a score model, where a classifier is needed"),
        (("--teacher", told, "--guide", told, "--scale", "2"), "cannot guide itself"),
        (("--teacher", told, "--flip"), "--flip and --augment change real images"),
        (("--teacher", models / "moons", "--data", "digits"), "use one data set and schedule for both"),
        (("--teacher", models / "moons", *recipe), "use one data set and schedule for both"),
        ((*recipe,), "name it with --teacher DIR --classifier DIR, or train everything by condgen run"),
        ((*recipe, "--loss", "smm"), "no generator with --loss smm: choose --loss dmd, sid, or add one"),
        ((*recipe, "--loss", "dmd"), "a likelihood term needs a classifier: name its folder with --likelihood"),
        ((*recipe, "--data", "digits"), "exclude each other"),
        (("--set", "generator.objective.loss=dmd"), "say --loss sid, dmd or smm instead of --set"),
        (("--set", "generator.flip=true"), "generator.flip: no such setting"),
        (("--set", "generator.objective.critic_steps=5"), "critic_steps: no such setting"),
        (("--lr", "0"), "generator.training.lr"),
        (("--data", "digit"), "did you mean 'digits'"),
    ):
        code, _, err = condgen("train-generator", *options, "--steps", 2, "--out", tmp_path / "x")
        assert (code, message in err) == (2, True), (options, err)
        assert err.startswith("error: "), err
        assert err.count("\n") == 1, err
        assert not (tmp_path / "x" / "model.safetensors").exists()
    for options in (("--loss", "gan"), ("--preset", "sid"), ("--augment", "0.9"), ("--steps", "0")):
        code, _, err = condgen("train-generator", *options, "--out", tmp_path / "x")
        assert (code, "Invalid value" in err) == (2, True), err


@pytest.mark.parametrize("options", [("--loss", "smm"), ("--teacher",)], ids=["smm", "taught"])
def test_stopping_on_the_way_changes_no_bit(options, models, condgen, monkeypatch, tmp_path):
    import condgen.runs.train as stages

    if options == ("--teacher",):
        more = ("--teacher", models / "plain", "--classifier", models / "ce", "--set", "generator.preview_every=2")
    else:
        more = (*options, *TINY, "--augment", 0.5, "--set", "generator.preview_every=2")
    command = ("train-generator", *more, "--steps", 6, "--batch", 16, "--set", "generator.training.log_every=2")
    code, _, err = condgen(*command, "--out", tmp_path / "whole")
    assert code == 0, err
    steps = stages.train

    def stopped(*arguments):
        for record in steps(*arguments):
            if record.step == 3:
                signal.raise_signal(signal.SIGINT)
            yield record

    with monkeypatch.context() as patch:
        patch.setattr(stages, "train", stopped)
        code, out, err = condgen(*command, "--out", tmp_path / "parts")
    assert (code, "the same command goes on from here" in out) == (130, True), err
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    code, out, err = condgen(*command, "--out", tmp_path / "parts")
    assert code == 0, err
    whole, parts = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    rows = [
        [row.get("preview", row["step"]) for row in read_rows(tmp_path / name / "log.jsonl")]
        for name in ("whole", "parts")
    ]
    assert rows[0] == rows[1]


def test_help_says_what_a_user_has_to_know(condgen):
    code, out, _ = condgen("train-generator", "--help")
    assert code == 0
    text = " ".join(out.replace("│", " ").split())
    for words in (
        *("--loss", "--preset", "--teacher", "--classifier", "--guide", "--scale", "--likelihood", "--augment"),
        *("--likelihood-weight", "--flip", "--recipe", "--set", "--steps", "--seed", "--download"),
        "sid, the default",
        "starts from its weights",
        "a collapse is told in words",
        "A frozen teacher, for dmd and sid",
        "above 0; 0.01 by default",
    ):
        assert words in text, words
