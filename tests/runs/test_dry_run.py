"""A dry run tells the truth of a recipe, and leaves no trace."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from condgen.checkpoint import load_tensors
from condgen.data import load, parse_data
from condgen.networks import MLPSettings
from condgen.recipes import ScoreStage, apply_overrides, load_recipe
from condgen.runs import Models, estimate, read_json, run_recipe, train_stage
from condgen.runs.dry_run.probes import peak_of, probe, probe_training
from condgen.runs.dry_run.rows import Estimate, StageEstimate, gigabytes
from condgen.runs.prepare import prepare
from condgen.training import Processes

ALONE = Processes(cpu=True)
CPU = torch.device("cpu")


def finish(work):
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


@pytest.fixture
def quick(monkeypatch):
    """Pieces are tried once: these tests look at what is tried, not at how long it takes."""
    monkeypatch.setattr("condgen.runs.dry_run.probes._ENOUGH", 0.0)


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


@pytest.fixture
def finished_run(digits_of_few_steps, tmp_path):
    place = tmp_path / "run"
    shutil.copytree(digits_of_few_steps, place)
    return place, load_recipe(place / "recipe.yaml", ["diagnose={levels: [0.5, 2], queries: 20}", "evaluate={}"])


def dry(recipe, folder):
    found = finish(estimate(recipe, folder, ALONE))
    return found, {stage.stage: stage for stage in found.stages}


def test_a_finished_run_is_there_and_its_models_have_the_parameters_told(finished_run, tmp_path, quick):
    folder, recipe = finished_run
    before = contents(folder)
    _, stages = dry(recipe, folder)
    assert contents(folder) == before
    names = [row["stage"] for row in read_json(folder / "run.json")["stages"]]
    assert [name for name in stages if name not in ("evaluate", "diagnose")] == names
    assert {name for name, stage in stages.items() if stage.reuse != "finished"} == {"evaluate", "diagnose"}
    assert all(stage.seconds == stage.disk == 0 for name, stage in stages.items() if name in names)

    fresh, afresh = dry(recipe, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()
    assert {stage.reuse for stage in fresh.stages} == {"to do"}
    for place in folder.glob("*/model.safetensors"):
        title = place.parent.name.replace("-", " ", 1)
        tensors, _ = load_tensors(place)
        assert stages[title].parameters == afresh[title].parameters
        buffers = sum(t.numel() for name, t in tensors.items() if "frequencies" in name)
        assert sum(t.numel() for t in tensors.values()) - buffers == afresh[title].parameters
    for stage in fresh.stages:
        assert stage.seconds > 0, stage
    assert all(afresh[name].disk > 0 for name in afresh if name.split()[0] in ("score", "classifier", "sample"))


def test_what_changed_is_to_be_done_again_and_what_builds_on_it(finished_run, quick):
    folder, recipe = finished_run
    tree = apply_overrides(recipe.model_dump(mode="json"), ["classifiers.ce.training.steps=7"])
    _, stages = dry(type(recipe).model_validate(tree), folder)
    again = {name for name, stage in stages.items() if stage.reuse == "to do"} - {"evaluate", "diagnose"}
    assert again == {"classifier ce", "calibrate ce", "sample ce", "sample calibrated", "trajectories"}
    assert all("kept beside" in stages[name].note for name in again)
    assert stages["classifier ce"].total == 7


def test_what_was_begun_goes_on(finished_run, quick):
    folder, recipe = finished_run
    stage = ScoreStage(data=recipe.data, schedule=recipe.schedule, seed=recipe.seed, score=recipe.scores["told"])
    shutil.rmtree(folder / "score-told")
    work = train_stage("score told", folder / "score-told", stage, load(recipe.data, "train"), ALONE)
    for event in work:
        if event.done == 4:
            work.close()
    samples = folder / "samples" / "ce"
    lines = (samples / "manifest.jsonl").read_text().splitlines(keepends=True)
    (samples / "manifest.jsonl").write_text("".join(lines[:5]))
    record = read_json(samples / "stage.json")
    (samples / "stage.json").write_text(json.dumps(record | {"finished": False}))
    before = contents(folder)
    _, stages = dry(recipe, folder)
    assert contents(folder) == before
    told, ce = stages["score told"], stages["sample ce"]
    assert (told.reuse, told.done, told.total) == ("begun", 4, 6)
    assert (ce.reuse, ce.done, ce.total) == ("begun", 5, 20)
    assert stages["score"].reuse == "finished"


def test_operations_are_those_of_a_closed_form(quick):
    """A linear layer multiplies once forward, once for its weights, and once for its input where that has a graph."""
    data = load(parse_data("digits"), "train")
    network = MLPSettings(width=16, depth=2, embedding=8).model_dump()
    about = {"data": {"kind": "digits"}, "schedule": {"kind": "edm"}}
    stage = ScoreStage.model_validate(about | {"score": {"network": network, "training": {"steps": 3, "batch": 48}}})
    prepared, passes = prepare(stage, data, CPU, Models(), None), {}

    def note(layer, inputs, output):
        rows = output.numel() // layer.out_features
        passes[layer] = 2 * rows * layer.in_features * layer.out_features * (2 + inputs[0].requires_grad)

    for layer in prepared.task.models()["model"].modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(note)
    found = probe_training(prepared, data, 0, ALONE)
    assert len(passes) > 4
    assert found.flops == sum(passes.values())  # of the last step, which saw the whole batch
    assert found.parameters == sum(p.numel() for p in prepared.task.models()["model"].parameters())
    weights = 4 * found.parameters
    assert found.model >= weights
    assert found.checkpoint >= 4 * weights  # weights, average, two moments
    assert found.memory > 5 * weights  # a gradient too, and what a step keeps


def test_memory_is_told_from_fewer_rows():
    weights = torch.randn(500, 100)

    def piece(rows):
        double = weights * 2  # does not depend on the rows
        return torch.randn(rows, 100) @ double.T

    assert peak_of(piece, 16, 400) == 4 * (500 * 100 + 400 * 100 + 400 * 500)


def test_a_few_rows_stand_for_many_that_would_take_long(monkeypatch):
    monkeypatch.setattr("condgen.runs.dry_run.probes._PATIENCE", 0.05)
    monkeypatch.setattr("condgen.runs.dry_run.probes._ENOUGH", 0.01)
    asked = []

    def piece(rows):
        asked.append(rows)
        time.sleep(1e-3 * rows)

    assert probe(piece, 1000, CPU) == pytest.approx(1.0, rel=0.3)
    assert max(asked) < 100
    assert probe(piece, 3, CPU) == pytest.approx(3e-3, rel=0.5)
    assert max(asked) < 100


def test_missing_data_are_told_with_the_remedy(tmp_path, monkeypatch, quick):
    monkeypatch.setenv("CONDGEN_DATA", str(tmp_path))
    network = "{kind: mlp, width: 8, depth: 1, embedding: 8}"
    changes = ["data={kind: cifar10}", f"score.network={network}", "classifiers={}", "generators={}", "sample=null"]
    recipe = load_recipe(Path("recipes/digits.yaml"), [*changes, "diagnose=null", "calibrate=null"])
    found, stages = dry(recipe, tmp_path / "run")
    assert list(stages) == ["score"]
    assert stages["score"].seconds > 0
    assert "cifar10 is not in" in found.notes[0]
    assert "CONDGEN_DATA" in found.notes[0]
    assert "stands in" in found.notes[0]


def test_a_plain_line_warns_of_what_will_not_do():
    stage = StageEstimate("score", "to do", 0, 10, "steps", memory=3 * 2**30, disk=5 * 2**30)
    enough = Estimate("r", "cpu", (stage, stage), free_memory=4 * 2**30, free_disk=11 * 2**30)
    assert (enough.memory, enough.disk, enough.warnings) == (3 * 2**30, 10 * 2**30, ())
    memory, disk = replace(enough, free_memory=2**30, free_disk=2**30).warnings
    assert memory.startswith("score needs 3 GB of memory, and 1 GB are free: ")
    assert disk.startswith("the run writes 10 GB, and 1 GB are free: ")
    assert gigabytes(2**20) == "1 MB"


@pytest.mark.slow
def test_the_time_of_the_digits_recipe_is_right_within_a_factor_of_two(tmp_path):
    recipe = load_recipe(Path("recipes/digits.yaml"), [])
    _, stages = dry(recipe, tmp_path / "run")
    list(run_recipe(recipe, tmp_path / "run", ALONE, "test"))
    taken = {row["stage"]: row["seconds"] for row in read_json(tmp_path / "run" / "run.json")["stages"]}
    assert list(taken) == list(stages)
    ratio = sum(stage.seconds for stage in stages.values()) / sum(taken.values())
    assert 0.5 < ratio < 2, {name: (stages[name].seconds, taken[name]) for name in taken}
    written = sum(path.stat().st_size for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert 0.5 < sum(stage.disk for stage in stages.values()) / written < 2.5
