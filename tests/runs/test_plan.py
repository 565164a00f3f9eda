"""A recipe as stages: their order, their states, and their repetition over seeds."""

import shutil

import pytest
from stages import ALONE

from condgen.data.sets import Moons
from condgen.errors import UserError
from condgen.recipes.compose import load_recipe
from condgen.runs.folder import write_json
from condgen.runs.plan import plan, run_all, run_recipe, seed_runs, states

MOONS = Moons(n=200).load_all()
SMALL = """
name: small
data: {kind: moons, n: 200}
schedule: {kind: edm, sigma_min: 0.1, sigma_max: 100}
score: {network: &net {kind: mlp, width: 8, depth: 1, embedding: 8}, training: &few {steps: 3, batch: 16}}
scores: {told: {init: score, network: *net, labels: embedding, training: *few}}
classifiers:
  ce: {network: *net, objective: {loss: ce}, training: *few}
  dlsm: {init: ce, network: *net, training: *few}
generators:
  sid: {objective: {loss: sid}, teacher: {classifier: dlsm}, training: *few}
calibrate: {levels: [1, 10], draws: 1, most: 20}
sample:
  per_class: 3
  batch: 6
  methods:
    guided: {classifier: ce, scale: calibrated, nfe: 6}
    told: {score: told, guide: unlabelled, scale: 2, sampler: adaptive-ode}
    one: {generator: sid}
evaluate: {cas: none, most: 100}
diagnose: {levels: [1, 10], queries: 6}
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    return load_recipe(tmp_path / "small.yaml")


def test_every_stage_comes_after_its_inputs_and_says_which_they_are(recipe, tmp_path):
    stages = plan(recipe, tmp_path / "run", MOONS)
    by_folder = {stage.folder: stage.name for stage in stages}
    inputs = {}
    for stage in stages:
        inputs[stage.name] = {by_folder[path] for file in stage.reads() for path in file.parents if path in by_folder}
        assert inputs[stage.name] <= inputs.keys() - {stage.name}  # each comes after its inputs
    assert (inputs["score"], inputs["score told"]) == (set(), {"score"})  # from whose weights it starts
    assert inputs["classifier dlsm"] == {"score", "classifier ce"}
    assert inputs["calibrate ce"] == {"classifier ce", "score"}
    assert inputs["generator sid"] == {"score", "classifier dlsm"}
    assert inputs["sample guided"] == {"score", "classifier ce", "calibrate ce"}
    assert inputs["sample told"] == {"score told"}
    assert inputs["sample one"] >= {"generator sid"}
    assert inputs["evaluate"] == {"sample guided", "sample told", "sample one"}
    assert inputs["diagnose"] >= {"score", "classifier ce", "calibrate ce", "classifier dlsm"}
    assert len({stage.folder for stage in stages}) == len(stages)
    assert not (tmp_path / "run").exists()


def test_the_test_split_is_for_the_final_figures_alone(recipe, tmp_path):
    stages = plan(recipe, tmp_path / "run", MOONS)
    readers = {stage.name for stage in stages if any(part is MOONS.test for part in vars(stage).values())}
    assert readers <= {"evaluate", "diagnose"}
    choosing = {stage.name for stage in stages if any(part is MOONS.validation for part in vars(stage).values())}
    assert choosing == {"classifier ce", "calibrate ce", "classifier dlsm", "calibrate dlsm", "generator sid"}


def test_states_before_amid_and_after_a_run(recipe, tmp_path):
    folder = tmp_path / "run"
    assert set(states(plan(recipe, folder, MOONS)).values()) == {"to do"}
    assert not folder.exists()
    list(run_recipe(recipe, folder, ALONE, "test"))
    contents = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert set(states(plan(recipe, folder, MOONS)).values()) == {"finished"}
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == contents

    shutil.rmtree(folder / "samples" / "guided")
    longer = recipe.model_copy(update={"seed": 1})
    found = states(plan(recipe, folder, MOONS))
    assert found[folder / "samples" / "guided"] == "to do"
    assert found[folder / "evaluation"] == "to do"
    assert found[folder / "samples" / "one"] == "finished"
    assert states(plan(longer, folder, MOONS))[folder / "score"] == "changed"


@pytest.mark.parametrize("damage", [{"total": "x"}, {"outputs": 7}])
def test_a_damaged_record_of_a_stage_is_named(damage, recipe, tmp_path):
    write_json(tmp_path / "run" / "score" / "stage.json", {"stage": "score", "key": "k", "base": "b"} | damage)
    with pytest.raises(UserError, match=r"score/stage\.json"):
        states(plan(recipe, tmp_path / "run", MOONS))


def test_every_seed_has_a_run_of_its_own(recipe, tmp_path):
    recipe = recipe.model_copy(update={"sample": None, "generators": {}, "scores": {}, "calibrate": None})
    runs = seed_runs(recipe.model_copy(update={"seed": 3}), 2, tmp_path)
    list(run_all(runs, ALONE, "test"))
    files = [(tmp_path / f"seed-{seed}" / "score" / "model.safetensors").read_bytes() for seed in (3, 4)]
    assert files[0] != files[1]
    assert not list(run_all(runs, ALONE, "test"))
