"""`condgen train-score`: data, options and settings reach the stage."""

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.cli.conftest import SMALL, bad, good

TINY = ("--steps", 2, "--batch", 8, "--set", f"score.{SMALL}")


def settings(folder):
    return yaml.safe_load((folder / "recipe.yaml").read_text())["score"]


def test_options_and_settings_reach_the_stage(tmp_path):
    options = ("--lr", 0.002, "--flip", "--seed", 3, "--conditional")
    sets = ("--set", "score.training.precision=bfloat16", "--set", "score.label_dropout=0.3")
    out = good("train-score", *TINY, *options, *sets, "--out", tmp_path)
    assert "digits: 1,437 8x8 images, 10 classes" in out
    found = settings(tmp_path)
    training = {"steps": 2, "batch": 8, "lr": 0.002, "flip": True, "precision": "bfloat16"}
    assert training.items() <= found["training"].items()
    assert (found["labels"], found["label_dropout"]) == ("embedding", 0.3)
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["seed"] == 3
    assert "nothing left to do" in good("train-score", *TINY, *options, *sets, "--out", tmp_path)


def test_adversarial_training(tmp_path):
    out = tmp_path / "a"
    good("train-score", "--adversarial", *TINY, "--set", "score.adversarial.weight=0.3", "--out", out)
    assert settings(out)["adversarial"]["weight"] == 0.3
    message = bad("train-score", *TINY, "--set", "score.adversarial.weight=2", "--out", tmp_path / "x")
    assert "add --adversarial" in message


def test_compilation_is_of_the_trained_network(tmp_path, monkeypatch):
    import torch

    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: compiled.append(type(self).__name__))
    good("train-score", *TINY, "--set", "score.training.compile=true", "--out", tmp_path)
    assert compiled == ["MLP"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "digit"), "did you mean 'digits'"),
        (("--data", "nowhere/photos"), "nowhere"),
        (("--data", "digits", "--recipe", "RECIPE"), "exclude each other"),
        (("--steps", "-1"), "score.training.steps"),
        (("--lr", "0"), "greater than 0"),
        (("--set", "score.training.stesp=3"), "did you mean 'steps'?"),
        (("--set", "score.training.micro_batch=all"), "micro_batch"),
        (("--set", "score"), "not of the form"),
        (("--conditional", "--set", "score.label_dropout=2"), "less than 1"),
    ],
)
def test_a_mistake_is_one_line(words, message, recipe, tmp_path):
    words = [recipe if word == "RECIPE" else word for word in words]
    assert message in bad("train-score", *words, "--out", tmp_path / "x")
    assert not (tmp_path / "x" / "model.safetensors").exists()


def test_one_class_is_too_few(tmp_path):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "photos" / "cat" / "a.png")
    assert "class" in bad("train-score", "--data", tmp_path / "photos", "--out", tmp_path / "x")
