"""What a training run makes of updates that are not finite. (Stages as a whole: test_stages.py.)"""

import json

import pytest
import torch

from condgen.data import load, parse_data
from condgen.errors import UserError
from condgen.recipe import ScoreStage, default_recipe
from condgen.run import train_stage
from condgen.training import Processes

ALONE = Processes(cpu=True)


def stage(**training):
    data = load(parse_data("digits"), "train")
    recipe = default_recipe(parse_data("digits"), data).model_dump(mode="json")
    recipe["score"]["network"] |= {"width": 8, "depth": 1, "embedding": 8}
    recipe["score"]["training"] |= {"steps": 40, "batch": 8, "log_every": 5} | training
    shared = {"data": recipe["data"], "schedule": recipe["schedule"], "seed": 0}
    return ScoreStage.model_validate(shared | {"score": recipe["score"]}), data


def spoilt(monkeypatch, steps):
    """Losses of these updates are not numbers."""
    from condgen.training import tasks

    honest, calls = tasks.denoising_score_matching, iter(range(10**6))
    monkeypatch.setattr(
        tasks,
        "denoising_score_matching",
        lambda *arguments: honest(*arguments) * (torch.nan if next(calls) in steps else 1.0),
    )


def test_training_ends_in_one_line_after_many_in_a_row(monkeypatch, tmp_path):
    spoilt(monkeypatch, range(7, 10**6))
    small, data = stage()
    with pytest.raises(UserError, match=r"loss is not a finite number at step 20, and the last 13 updates") as error:
        list(train_stage("score", tmp_path, small, data, ALONE))
    assert "lower the learning rate" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_few_bad_batches_are_told_and_training_goes_on(monkeypatch, tmp_path):
    spoilt(monkeypatch, {4, 11, 12})
    small, data = stage()
    assert len(list(train_stage("score", tmp_path, small, data, ALONE))) == 40
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "lr" in row]
    assert [row.get("skipped", 0) for row in rows] == [1, 1, 3, 3, 3, 3, 3, 3]
    assert "loss" not in rows[0]  # step 5 was a bad one, and a log holds numbers
    assert rows[-1]["loss"] > 0
