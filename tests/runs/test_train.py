"""What a training run makes of updates that are not finite. (Stages as a whole: test_stages.py.)"""

import json

import pytest
import torch
from finish import begin

from condgen.checkpoint import load_tensors
from condgen.data import load, parse_data
from condgen.errors import UserError
from condgen.recipes import ClassifierStage, GeneratorStage, ScoreStage, content_key, default_recipe
from condgen.runs import Train
from condgen.runs.folder import read_json
from condgen.training import Processes, frozen, train

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

    honest, calls = tasks.score_matching_loss, iter(range(10**6))
    monkeypatch.setattr(
        tasks,
        "score_matching_loss",
        lambda *arguments: honest(*arguments) * (torch.nan if next(calls) in steps else 1.0),
    )


def test_weights_are_those_of_the_last_good_step_and_the_same_command_says_the_same(monkeypatch, tmp_path):
    small, data = stage()
    seen = begin(Train("score", tmp_path / "good", small, data).run(ALONE), 7)
    assert [progress.done for progress in seen] == list(range(1, 8))
    spoilt(monkeypatch, range(7, 10**6))
    errors = []
    for _ in range(2):
        with pytest.raises(UserError) as error:
            list(Train("score", tmp_path / "bad", small, data).run(ALONE))
        errors.append(str(error.value))
        good, bad = (load_tensors(tmp_path / name / "state" / "state.safetensors")[0] for name in ("good", "bad"))
        assert all(torch.equal(good[name], bad[name]) for name in good if name.startswith("models/"))
    assert errors[0] == errors[1]
    monkeypatch.undo()
    more, _ = stage(skip_limit=30)  # is no part of the key: training goes on from there
    first, *_ = Train("score", tmp_path / "bad", more, data).run(ALONE)
    assert first.done == 18
    gentler, _ = stage(lr=1e-4)
    assert len(list(Train("score", tmp_path / "bad", gentler, data).run(ALONE))) > 40  # set aside, and begun anew


def test_bad_rows_are_counted_and_logged(monkeypatch, tmp_path):
    from condgen.training import tasks

    honest, seen = tasks.score_matching_loss, []

    def planted(model, x, t, eps, y):
        losses = honest(model, x, t, eps, y)
        seen.append(t)
        return torch.where(torch.arange(len(losses)) == 5, torch.inf, losses) if len(seen) in (4, 9) else losses

    monkeypatch.setattr(tasks, "score_matching_loss", planted)
    small, data = stage()
    said = [progress.message for progress in Train("score", tmp_path, small, data).run(ALONE) if progress.message]
    assert len(said) == 1
    assert "score, step 4: loss is not a finite number in 1 of 8 rows" in said[0]
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    found = [row["not_finite"]["model"] for row in rows if "not_finite" in row]
    assert found == ["loss is not a finite number in 1 of 8 rows"] * 2


def test_a_few_bad_batches_are_told_and_training_goes_on(monkeypatch, tmp_path):
    spoilt(monkeypatch, {4, 11, 12})
    small, data = stage()
    assert len(list(Train("score", tmp_path, small, data).run(ALONE))) == 40
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "lr" in row]
    assert [row.get("skipped", 0) for row in rows] == [1, 1, 3, 3, 3, 3, 3, 3]
    assert "loss" not in rows[0]  # step 5 was a bad one, and a log holds numbers
    assert rows[-1]["loss"] > 0


def test_the_state_is_saved_every_so_many_steps(tmp_path):
    small, data = stage(save_every=5)
    work = Train("score", tmp_path, small, data).run(ALONE)
    while next(work).done < 7:
        pass
    assert load_tensors(tmp_path / "state" / "state.safetensors")[1]["step"] == 5
    work.close()


def test_the_rate_is_that_since_the_last_row(monkeypatch, tmp_path):
    def timed(*words):
        return (record._replace(seconds=2.0) for record in train(*words))

    monkeypatch.setattr("condgen.runs.train.train", timed)
    small, data = stage()
    list(Train("score", tmp_path, small, data).run(ALONE))
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["images_per_second"] for row in rows] == [4.0] * 8


# ----------------------------------------------------------------------------------------------------
# What a model's key depends on


def stages(changes=(), of=()):
    """A stage of each kind, with changes to its training and to its own part."""
    recipe = default_recipe(parse_data("digits"), load(parse_data("digits"), "train"))
    shared = {"data": recipe.data, "schedule": recipe.schedule}
    parts = {
        "score": (ScoreStage, recipe.score),
        "classifier": (ClassifierStage, recipe.classifiers["default"]),
        "generator": (GeneratorStage, recipe.generators["smm"]),
    }
    for name, (kind, part) in parts.items():
        tree = part.model_dump(mode="json")
        tree["training"] |= dict(changes)
        yield kind.model_validate(shared | {name: tree | dict(of)})


def keys(changes=(), of=()):
    return [content_key(stage) for stage in stages(changes, of)]


def test_another_precision_on_another_device_is_told_and_recorded(monkeypatch, tmp_path):
    small, data = stage(precision="auto")
    told = []
    for able in (False, True):
        monkeypatch.setattr(frozen, "multiplies_in_bfloat16", lambda device, able=able: able)
        seen = begin(Train("score", tmp_path / "a", small, data).run(ALONE), 5)
        told.append([progress.message for progress in seen])
        assert read_json(tmp_path / "a" / "stage.json")["precision"] == ("bfloat16" if able else "float32")
    assert not any("goes on" in message for message in told[0])
    assert "score: training goes on in bfloat16, after float32" in told[1]


def test_what_changes_rounding_alone_is_in_no_key():
    assert keys({"compile": True}) == keys({"micro_batch": 7}) == keys()
    assert keys({"skip_limit": 3}) == keys({"save_every": 7, "log_every": 7}) == keys()
    assert keys({"precision": "bfloat16"}) == keys()
    assert len({*keys(), *keys({"optimizer": "muon"}), *keys({"flip": True}), *keys({"lr": 0.5})}) == 12
