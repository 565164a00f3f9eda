"""Options that all commands that train one model share."""

import pytest
import yaml

TINY = ("--set", "score.network={kind: mlp, width: 8, depth: 1, embedding: 8}", "--steps", 2, "--batch", 8)
HOW = {"flip": True, "precision": "bfloat16", "micro_batch": 4}
OPTIONS = ("--flip", "--precision", "bfloat16", "--micro-batch", 4)


def training(folder, part):
    return yaml.safe_load((folder / "recipe.yaml").read_text())[part]["training"]


@pytest.fixture
def score(condgen, tmp_path):
    code, _, err = condgen("train-score", *TINY, *OPTIONS, "--out", tmp_path / "score")
    assert code == 0, err
    return tmp_path / "score"


def small(part):
    return ("--set", f"{part}.network={{kind: mlp, width: 8, depth: 1, embedding: 8}}", "--steps", 2, "--batch", 8)


def test_precision_parts_and_mirroring_reach_every_kind_of_model(condgen, score, tmp_path):
    assert HOW.items() <= training(score, "score").items()
    classifier = tmp_path / "classifier"
    code, _, err = condgen("train-classifier", "--score", score, *small("classifier"), *OPTIONS, "--out", classifier)
    assert code == 0, err
    assert HOW.items() <= training(classifier, "classifier").items()
    generator = tmp_path / "generator"
    networks = (*small("generator"), "--set", "generator.objective.network={kind: mlp, width: 8, depth: 1}")
    code, _, err = condgen("train-generator", "--loss", "smm", *networks, *OPTIONS, "--out", generator)
    assert code == 0, err
    assert HOW.items() <= training(generator, "generator").items()


def test_compilation_means_one_thing(condgen, tmp_path, monkeypatch):
    import torch

    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: compiled.append(type(self).__name__))
    code, _, err = condgen("train-score", *TINY, "--compile", "--out", tmp_path / "score")
    assert code == 0, err
    assert compiled == ["MLPDenoiser"]
    more = (*small("classifier"), "--loss", "ce", "--compile")
    code, _, err = condgen("train-classifier", *more, "--out", tmp_path / "ce")
    assert code == 0, err
    assert compiled == ["MLPDenoiser", "MLPClassifier"]
    assert training(tmp_path / "ce", "classifier")["compile"] is True


def test_rows_at_a_time_are_a_number_or_auto(condgen, tmp_path):
    code, _, err = condgen("train-score", *TINY, "--micro-batch", "all", "--out", tmp_path / "score")
    assert code == 2
    assert "score.training.micro_batch" in err
    assert len(err.strip().splitlines()) == 1
