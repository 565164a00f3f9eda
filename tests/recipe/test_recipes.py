"""The recipes that are shipped: every one parses, and runs two steps."""

from pathlib import Path

import pytest

from condgen.recipe import Recipe, load_recipe, to_yaml
from condgen.run import run_recipe
from condgen.settings import parse
from condgen.training import Processes

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("**/*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_parses_and_says_what_it_gives(path):
    import yaml

    recipe = load_recipe(path)
    assert parse(Recipe, yaml.safe_load(to_yaml(recipe)), "again") == recipe
    header = path.read_text().split("name:")[0]
    for word in ("What", "Expect", "Time", "Memory", "Command"):
        assert f"# {word}:" in header, f"the header of {path.name} lacks {word!r}"


def test_a_run_that_was_stopped_in_its_first_stage_goes_on(tmp_path):
    changes = ["score.training.steps=3", "scores={}", "classifiers={}", "sample=null", "diagnose=null"]
    recipe = load_recipe(next(path for path in RECIPES if path.stem == "moons"), changes)
    work = run_recipe(recipe, tmp_path, Processes(cpu=True), "test")
    next(work)
    work.close()
    assert [event.done for event in run_recipe(recipe, tmp_path, Processes(cpu=True), "test")] == [2, 3]


@pytest.mark.parametrize("path", [p for p in RECIPES if p.parent.name == "recipes"], ids=lambda p: p.stem)
def test_a_recipe_runs_two_steps_end_to_end(path, tmp_path):
    recipe = load_recipe(path)
    trained = ["score", *(f"scores.{name}" for name in recipe.scores)]
    trained += [f"classifiers.{name}" for name in recipe.classifiers]
    changes = [f"{part}.training.{short}" for part in trained for short in ("steps=2", "snapshots=[1]")]
    changes += [f"generators.{name}.training.steps=2" for name in recipe.generators]
    if recipe.sample is not None:
        changes += ["sample.per_class=3"]
    if recipe.diagnose is not None:
        changes += ["diagnose.queries=10"]
    small = load_recipe(path, changes)
    stages = {event.stage for event in run_recipe(small, tmp_path, Processes(cpu=True), "test")}
    assert "score" in stages
    assert (tmp_path / "run.json").exists()
    assert not list(run_recipe(small, tmp_path, Processes(cpu=True), "test"))  # the same again does nothing
