"""`condgen train-score`, `train-classifier`, `train-generator`: options, presets, teachers, interruption, pictures."""

import shutil
import signal

import pytest
import torch
import yaml
from stages import model_key

from condgen.checkpoint import load_tensors
from condgen.cli.pictures import follow_previews
from condgen.cli.progress import stop_signals
from condgen.runs.folder import read_rows
from condgen.runs.stage import Progress
from tests.cli.conftest import SMALL, bad, good

SHORT = ("--steps", 2, "--batch", 16)
SCORE = (*SHORT, "--set", f"score.{SMALL}")
CLASSIFIER = (*SHORT, "--set", f"classifier.{SMALL}")
GENERATOR = (*SHORT, "--set", f"generator.{SMALL}", "--set", f"generator.objective.{SMALL}")


def settings(folder, part):
    return yaml.safe_load((folder / "recipe.yaml").read_text())[part]


def test_options_and_settings_reach_the_stage(tmp_path):
    options = ("--lr", 0.002, "--flip", "--seed", 3, "--conditional")
    sets = ("--set", "score.training.precision=bfloat16", "--set", "score.label_dropout=0.3")
    sets += ("--set", "score.label_std=0.01")
    out = good("train-score", *SCORE, *options, *sets, "--out", tmp_path)
    assert "digits: 1,295 8x8 images, 10 classes" in out
    found = settings(tmp_path, "score")
    training = {"steps": 2, "batch": 16, "lr": 0.002, "flip": True, "precision": "bfloat16"}
    assert training.items() <= found["training"].items()
    assert (found["labels"], found["label_dropout"]) == ("embedding", 0.3)
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["seed"] == 3
    (table,) = (t for name, t in load_tensors(tmp_path / "model.safetensors")[0].items() if "label.table" in name)
    assert 0.005 < float(table.std()) < 0.02
    assert "nothing left to do" in good("train-score", *SCORE, *options, *sets, "--out", tmp_path)


def test_adversarial_training(tmp_path):
    out = tmp_path / "a"
    good("train-score", "--adversarial", *SCORE, "--set", "score.adversarial.weight=0.3", "--out", out)
    assert settings(out, "score")["adversarial"]["weight"] == 0.3
    message = bad("train-score", *SCORE, "--set", "score.adversarial.weight=2", "--out", tmp_path / "x")
    assert "adversarial.network" in message


def test_mistakes(digits, recipe, tmp_path):
    score, told, ce, none = digits / "score", digits / "score-told", digits / "classifier-ce", tmp_path / "none"
    for verb, words, message in (
        ("score", ("--data", "digit"), "did you mean 'digits'"),
        ("score", ("--data", "nowhere/photos"), "nowhere"),
        ("score", ("--data", "digits", "--recipe", recipe), "exclude each other"),
        ("score", ("--lr", "0"), "greater than 0"),
        ("score", ("--init", ce), "holds a classifier, where a score model is needed"),
        ("score", ("--recipe", ce / "recipe.yaml"), "is the recipe of a classifier: run condgen train-classifier"),
        ("classifier", ("--score", none), "none"),
        ("classifier", ("--score", ce), "holds a classifier, where a score model is needed"),
        ("classifier", ("--loss", "hinge"), "hinge"),
        ("classifier", ("--loss", "dlsm"), "run 'condgen train-score' first"),
        ("generator", ("--loss", "smm", "--teacher", told), "has no teacher"),
        ("generator", ("--classifier", ce), "name one with --teacher DIR"),
        ("generator", ("--teacher", ce), "holds a classifier, where a score model is needed"),
        ("generator", ("--teacher", score), "add a classifier"),
        ("generator", ("--teacher", told, "--scale", "2"), "name a classifier or a guide"),
        ("generator", ("--teacher", told, "--flip"), "with a teacher none are seen"),
        ("generator", ("--likelihood", none), "does not exist: name a folder"),
        ("generator", ("--recipe", recipe, "--loss", "smm"), "no generator with --loss smm"),
    ):
        assert message in bad(f"train-{verb}", *words, "--steps", 2, "--out", tmp_path / "x"), words
        assert not (tmp_path / "x" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "objective"),
    [
        ((), {"loss": "dlsm", "ce_weight": 0.3, "sigma_weight": 1.5, "reduction": "sum"}),
        (("--loss", "ce"), {"loss": "ce"}),
        (("--loss", "dlsm-cifar"), {"loss": "dlsm", "ce_weight": 0.25, "sigma_weight": 0.0}),
        (("--loss", "dlsm-pure", "--set", "classifier.objective.ce_weight=0.1"), {"loss": "dlsm", "ce_weight": 0.1}),
    ],
)
def test_losses_of_classifiers(words, objective, digits, tmp_path):
    good("train-classifier", "--score", digits / "score", *words, *CLASSIFIER, "--out", tmp_path)
    assert objective.items() <= settings(tmp_path, "classifier")["objective"].items()
    assert load_tensors(tmp_path / "model.safetensors")[1]["kind"] == "classifier"


def test_a_backbone_of_timm(tmp_path):
    words = ("--loss", "ce", "--backbone", "test_resnet", "--steps", 1, "--batch", 4)
    good("train-classifier", *words, "--out", tmp_path)
    assert settings(tmp_path, "classifier")["network"]["name"] == "test_resnet"


def test_the_schedule_is_that_of_the_score_model(digits, tmp_path):
    other = ("--set", "schedule={kind: edm, sigma_min: 0.03, sigma_max: 20}", "--set", f"score.{SMALL}")
    good("train-score", *other, "--steps", 1, "--batch", 8, "--out", tmp_path / "score")
    good("train-classifier", "--score", tmp_path / "score", *CLASSIFIER, "--out", tmp_path / "c")
    assert yaml.safe_load((tmp_path / "c" / "recipe.yaml").read_text())["schedule"]["sigma_min"] == 0.03


@pytest.mark.parametrize("part", ["score", "score-told", "classifier-ce", "classifier-dlsm", "generator-sid"])
def test_the_recipe_of_a_stage_trains_the_same_model(part, digits, tmp_path):
    kind = part.partition("-")[0]
    words = ("--score", digits / "score") if part == "classifier-dlsm" else ()
    good(f"train-{kind}", "--recipe", digits / part / "recipe.yaml", *words, "--out", tmp_path / "again")
    assert model_key(tmp_path / "again") == model_key(digits / part)


def test_more_steps_go_on_and_init_starts_from_weights(digits, tmp_path):
    good("train-score", *SCORE, "--out", tmp_path / "s")
    out = good("train-score", *SCORE, "--steps", 5, "--out", tmp_path / "s")
    assert "goes on, with 5 in all instead of 2" in out
    assert "score: 5 of 5" in out
    still = ("--set", "score.training.warmup=0", "--lr", 1e-12)
    for name, init, most in (("t", tmp_path / "s", 80), ("u", digits / "score", 50)):  # and with other noise
        other = ("--set", f"schedule.sigma_max={most}")
        good("train-score", *SCORE, *still, *other, "--conditional", "--init", init, "--out", tmp_path / name)
        first, found = (load_tensors(place / "model.safetensors")[0] for place in (init, tmp_path / name))
        assert all(torch.allclose(first[key], found[key], atol=1e-6) for key in first)
    good("train-score", *SHORT, *still, "--init", digits / "score", "--out", tmp_path / "v")  # its network
    assert settings(tmp_path / "v", "score")["network"] == settings(digits / "score", "score")["network"]


def test_a_classifier_starts_from_a_score_model_but_for_its_last_layer(digits, tmp_path):
    still = ("--init", digits / "score", "--set", "classifier.training.warmup=0", "--lr", 1e-12)
    words = ("--loss", "ce", "--data", "digits", "--steps", 2, "--batch", 8, *still)
    good("train-classifier", *words, "--set", "classifier.network.dropout=0.2", "--out", tmp_path / "c")
    first, found = (load_tensors(place / "model.safetensors")[0] for place in (digits / "score", tmp_path / "c"))
    shared = [key for key in found if key in first and first[key].shape == found[key].shape]
    assert len(shared) == len(found) - 2  # the weights and bias of the last layer
    assert all(torch.allclose(first[key], found[key], atol=1e-6) for key in shared)


@pytest.mark.parametrize(
    ("words", "loss", "objective"),
    [
        ((), "sid", {"alpha": 1.0}),
        (("--loss", "dmd"), "dmd", {"denoiser_steps": 2}),
        (("--loss", "smm"), "smm", {"critic_steps": 3, "critic_lr": 1e-3}),
        (("--loss", "mmd"), "mmd", {"bandwidth": 0.25}),
    ],
)
def test_losses_of_generators(words, loss, objective, tmp_path):
    out = good("train-generator", *words, *GENERATOR[: -2 if loss == "mmd" else None], "--out", tmp_path)
    assert f"generator {loss}: 2 of 2" in out
    assert "recall" in out
    found = settings(tmp_path, "generator")["objective"]
    assert (found["loss"], objective.items() <= found.items()) == (loss, True)
    assert {"previews.png", "grid.png"} <= {path.name for path in tmp_path.iterdir()}


def test_teachers(digits, tmp_path):
    ce = ("--classifier", digits / "classifier-ce")
    for name, words, teacher in (
        ("guided", ("score", *ce, "--scale", 2), {"classifier": "classifier-ce", "scale": 2.0}),
        ("told", ("score-told",), {"classifier": None, "guide": None, "scale": 1.0}),
        ("free", ("score-told", "--guide", "unlabelled", "--scale", 1.5), {"guide": "unlabelled", "scale": 1.5}),
        ("auto", ("score-told", "--guide", digits / "score", "--loss", "dmd"), {"guide": "tiny/score"}),
    ):
        first, *more = words
        good("train-generator", "--teacher", digits / first, *more, *SHORT, "--out", tmp_path / name)
        assert teacher.items() <= settings(tmp_path / name, "generator")["teacher"].items()
        made, given = (load_tensors(place / "model.safetensors")[1] for place in (tmp_path / name, digits / first))
        assert made["network"] == given["network"]


def test_a_likelihood_term(digits, tmp_path):
    terms = ("--likelihood", digits / "classifier-ce", "--set", "generator.likelihood.weight=0.5")
    good("train-generator", *terms, "--flip", *GENERATOR, "--out", tmp_path)
    found = settings(tmp_path, "generator")
    assert (found["likelihood"]["classifier"], found["likelihood"]["weight"]) == ("classifier-ce", 0.5)
    assert any("likelihood" in row for row in read_rows(tmp_path / "log.jsonl"))


def test_a_recipe_and_single_settings(recipe, tmp_path):
    changes = ("--lr", 0.002, "--set", "generator.objective.alpha=1.2")
    good("train-generator", "--recipe", recipe, *changes, "--steps", 2, "--out", tmp_path)
    found = settings(tmp_path, "generator")
    assert (found["training"]["lr"], found["objective"]["alpha"], found["training"]["batch"]) == (0.002, 1.2, 16)


def test_a_picture_that_cannot_be_drawn_stops_nothing(monkeypatch, tmp_path):
    def fails(*_, **__):
        raise OSError("no room")

    def work():
        yield Progress("g", 1, 2, 0, message="read me", preview=tmp_path)

    monkeypatch.setattr("condgen.report.models.draw_previews", fails)
    (event,) = follow_previews(work())
    assert event.message.startswith(f"read me\n{tmp_path}: pictures cannot be drawn")


def test_samples_are_drawn_as_soon_as_they_are_there(digits_of_few_steps, tmp_path):
    folder = shutil.copytree(digits_of_few_steps / "samples" / "ce", tmp_path / "ce")
    (folder / "grid.png").unlink(missing_ok=True)
    (event,) = follow_previews(event for event in [Progress("sample ce", 20, 20, preview=folder)])
    assert event.message == f"sample ce: {folder / 'grid.png'}"
    assert (folder / "grid.png").exists()


def test_a_second_ctrl_c_stops_at_once_and_a_second_sigterm_does_not():
    with stop_signals() as found:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert found[0] == signal.SIGTERM
