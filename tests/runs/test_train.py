"""What a training run makes of updates that are not finite. (Stages as a whole: test_stages.py.)"""

import math

import pytest
import torch
from finish import begin
from reliability.faults import bad_losses
from stages import NETWORK, small_stage, train

from condgen.checkpoint import load_tensors
from condgen.errors import UserError
from condgen.recipes.compose import content_key
from condgen.runs.folder import read_json, read_rows
from condgen.training import settings as of_training, tasks
from condgen.training.loop import train as steps_of


def stage(**training):
    return small_stage("score", {"steps": 40, "batch": 8, "log_every": 5} | training)


@pytest.fixture
def honest(monkeypatch):
    """Puts the loss back that a test has planted."""
    monkeypatch.setattr(tasks, "score_matching_loss", tasks.score_matching_loss)
    return monkeypatch


def test_weights_are_those_of_the_last_good_step_and_the_same_command_says_the_same(honest, tmp_path):
    seen = begin(train(tmp_path / "good", stage()), 7)
    assert [progress.done for progress in seen] == list(range(1, 8))
    bad_losses(8, 10**6, math.nan)
    errors = []
    for _ in range(2):
        with pytest.raises(UserError) as error:
            list(train(tmp_path / "bad", stage()))
        errors.append(str(error.value))
        good, bad = (load_tensors(tmp_path / name / "state" / "state.safetensors")[0] for name in ("good", "bad"))
        assert all(torch.equal(good[name], bad[name]) for name in good if name.startswith("models/"))
    assert errors[0] == errors[1]
    honest.undo()
    first, *_ = train(tmp_path / "bad", stage(skip_limit=30))  # is no part of the key: training goes on from there
    assert first.done == 18
    assert len(list(train(tmp_path / "bad", stage(lr=1e-4)))) > 40  # set aside, and begun anew


@pytest.mark.parametrize(("row", "found"), [(5, "1 of 8 rows"), (None, "8 of 8 rows")])
@pytest.mark.usefixtures("honest")
def test_bad_rows_and_batches_are_counted_and_logged_and_training_goes_on(row, found, tmp_path):
    bad_losses(5, 5, math.inf, row)
    bad_losses(12, 13, math.nan, row)
    events = list(train(tmp_path / "score", stage()))
    assert len(events) == 40
    said = [progress.message for progress in events if progress.message]
    assert len(said) == 1
    assert f"score, step 5: loss is not a finite number in {found}" in said[0]
    rows = read_rows(tmp_path / "score" / "log.jsonl")
    told = [row["not_finite"]["model"] for row in rows if "not_finite" in row]
    assert told == [f"loss is not a finite number in {found}"] * 3
    rows = [row for row in rows if "lr" in row]
    assert [row.get("skipped", 0) for row in rows] == [1, 1, 3, 3, 3, 3, 3, 3]
    assert "loss" not in rows[0]  # step 5 was a bad one, and a log holds numbers
    assert rows[-1]["loss"] > 0


def test_the_rate_is_that_since_the_last_row(monkeypatch, tmp_path):
    def timed(*words):
        return (record._replace(seconds=2.0) for record in steps_of(*words))

    monkeypatch.setattr("condgen.runs.train.train", timed)
    list(train(tmp_path, stage()))
    assert [row["images_per_second"] for row in read_rows(tmp_path / "log.jsonl")] == [4.0] * 8


# What a model's key depends on


def keys(preview_every=None, **training):
    """Of a stage of each kind."""
    generator = {"objective": {"loss": "smm", "network": NETWORK}, "preview_every": preview_every}
    parts = {"score": {}, "classifier": {}, "generator": generator}
    return [content_key(small_stage(kind, training, **part)) for kind, part in parts.items()]


def test_another_precision_on_another_device_is_told_and_recorded(monkeypatch, tmp_path):
    told = []
    for able in (False, True):
        monkeypatch.setattr(of_training, "multiplies_in_bfloat16", lambda device, able=able: able)
        seen = begin(train(tmp_path / "score", stage(precision="auto")), 5)
        told.append([progress.message for progress in seen])
        assert read_json(tmp_path / "score" / "stage.json")["precision"] == ("bfloat16" if able else "float32")
    assert not any("goes on" in message for message in told[0])
    assert "score: training goes on in bfloat16, after float32" in told[1]


def test_what_changes_rounding_alone_is_in_no_key():
    assert keys(compile=True) == keys(micro_batch=7) == keys()
    assert keys(preview_every=3) == keys(skip_limit=3) == keys(save_every=7, log_every=7) == keys()
    assert keys(precision="bfloat16") == keys()
    assert len({*keys(), *keys(optimizer="muon"), *keys(flip=True), *keys(lr=0.5)}) == 12
