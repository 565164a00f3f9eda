"""`condgen train-generator`: losses, teachers, interruption, pictures."""

import signal

import pytest
import torch
import yaml

from condgen.checkpoint import load_tensors
from condgen.cli.previews import follow_previews
from condgen.runs import Progress, read_rows
from tests.cli.conftest import SMALL, bad, good

TINY = ("--set", f"generator.{SMALL}", "--set", f"generator.objective.{SMALL}")
SHORT = ("--steps", 2, "--batch", 16)


def settings(folder):
    return yaml.safe_load((folder / "recipe.yaml").read_text())["generator"]


@pytest.mark.parametrize(
    ("words", "loss", "objective"),
    [
        ((), "sid", {"alpha": 1.0}),
        (("--loss", "dmd"), "dmd", {"denoiser_steps": 2}),
        (("--loss", "smm"), "smm", {"critic_steps": 3, "critic_lr": 1e-3}),
    ],
)
def test_losses_and_presets(words, loss, objective, tmp_path):
    out = good("train-generator", *words, *SHORT, *TINY, "--out", tmp_path)
    assert f"generator {loss}: 2 of 2" in out
    assert "recall" in out
    found = settings(tmp_path)["objective"]
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
        found = settings(tmp_path / name)
        assert teacher.items() <= found["teacher"].items()
        about, of_teacher = (
            load_tensors(place / "model.safetensors")[1] for place in (tmp_path / name, digits / first)
        )
        assert about["network"] == of_teacher["network"]


def test_a_likelihood_term_and_augmentation(digits, tmp_path):
    terms = ("--likelihood", digits / "classifier-ce", "--set", "generator.likelihood.weight=0.5")
    more = ("--set", "generator.augment.probability=0.3", "--flip")
    good("train-generator", *terms, *more, *SHORT, *TINY, "--out", tmp_path)
    found = settings(tmp_path)
    assert (found["likelihood"]["classifier"], found["likelihood"]["weight"]) == ("classifier-ce", 0.5)
    assert any("likelihood" in row for row in read_rows(tmp_path / "log.jsonl"))


def test_a_recipe_and_single_settings(recipe, tmp_path):
    changes = ("--lr", 0.002, "--set", "generator.objective.alpha=1.2")
    good("train-generator", "--recipe", recipe, *changes, "--steps", 2, "--out", tmp_path)
    found = settings(tmp_path)
    assert (found["training"]["lr"], found["objective"]["alpha"], found["training"]["batch"]) == (0.002, 1.2, 16)


def test_mistakes(digits, recipe, tmp_path):
    score, told, ce = digits / "score", digits / "score-told", digits / "classifier-ce"
    for words, message in (
        (("--loss", "smm", "--teacher", told), "has no teacher"),
        (("--classifier", ce), "name one with --teacher DIR"),
        (("--teacher", ce), "holds no score model"),
        (("--teacher", score), "add a classifier that guides it (--classifier DIR)"),
        (("--teacher", told, "--scale", "2"), "name a classifier or a guide"),
        (("--teacher", told, "--flip"), "which a teacher has seen as they are"),
        (("--likelihood", tmp_path / "none"), "does not exist: name a folder"),
        (("--recipe", recipe, "--loss", "smm"), "no generator with --loss smm"),
        (("--set", "generator.objective.critic_steps=5"), "critic_steps: no such setting"),
    ):
        assert message in bad("train-generator", *words, "--steps", 2, "--out", tmp_path / "x"), words
        assert not (tmp_path / "x" / "model.safetensors").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_on_the_way_changes_no_bit(number, condgen, monkeypatch, tmp_path):
    import condgen.runs.train as stages

    more = ("--set", "generator.augment.probability=0.5", "--set", "generator.preview_every=2")
    command = ("train-generator", "--loss", "smm", *TINY, *more, "--steps", 6, "--batch", 16)
    good(*command, "--out", tmp_path / "whole")
    steps = stages.train

    def stopped(*arguments):
        for record in steps(*arguments):
            if record.step == 3:
                signal.raise_signal(number)
            yield record

    with monkeypatch.context() as patch:
        patch.setattr(stages, "train", stopped)
        code, out, err = condgen(*command, "--out", tmp_path / "parts")
    assert (code, "the same command resumes from here" in out) == (128 + number, True), err
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    good(*command, "--out", tmp_path / "parts")
    whole, parts = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_picture_that_cannot_be_drawn_stops_nothing(monkeypatch, tmp_path):
    def fails(*_, **__):
        raise OSError("no room")

    def work():
        yield Progress("g", 1, 2, 0, message="read me", preview=tmp_path)

    monkeypatch.setattr("condgen.report.draw_previews", fails)
    (event,) = follow_previews(work())
    assert event.message.startswith(f"read me\n{tmp_path}: pictures cannot be drawn")
