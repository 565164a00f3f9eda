"""The recipes that are shipped: every one parses, and runs two steps."""

from pathlib import Path

import pytest
import yaml
from networks.published import UNETS

from condgen.recipes.compose import load_recipe, sizes_of, to_yaml
from condgen.recipes.schema import Recipe
from condgen.runs.plan import run_recipe
from condgen.settings import parse
from condgen.training.distributed import Processes

ROOT = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(ROOT.glob("**/*.yaml"))


def name(path):
    return f"{path.parent.name}-{path.stem}"


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_a_recipe_parses_in_all_its_sizes_and_says_what_it_gives(path):
    for size in sizes_of(path) or [None]:
        recipe = load_recipe(path, size=size)
        assert parse(Recipe, yaml.safe_load(to_yaml(recipe)), "again") == recipe
        assert size is None or recipe.name.endswith(f"-{size}")
    header = path.read_text().partition("\nname:")[0].partition("\ninclude:")[0]
    for word in ("What", "Expect", "Time", "Memory", "Command"):
        assert f"# {word}:" in header, f"the header of {path.name} lacks {word!r}"
    assert "TODO" not in header
    assert f"recipes/{path.relative_to(ROOT)}" in header, "the command names another file"


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_cifar_comes_in_the_same_recipes_and_sizes(data):
    parts = ["score-ve", "score-vp", "score-edm", "classifier-ce", "classifier-dlsm", "generator", "sample-guided"]
    parts += ["evaluate", "diagnose", "all"]
    assert {path.stem for path in (ROOT / data).glob("*.yaml")} == set(parts)
    for part in parts:
        assert {"smoke", "one-gpu-hour", "paper"} <= set(sizes_of(ROOT / data / f"{part}.yaml"))


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
@pytest.mark.parametrize(
    ("part", "published"),
    [("score-edm", "edm-ddpmpp"), ("score-vp", "score-sde-ddpmpp-deep"), ("score-ve", "score-sde-ncsnpp-deep")],
)
def test_score_models_of_the_paper_size_have_the_published_network(data, part, published):
    assert load_recipe(ROOT / data / f"{part}.yaml", size="paper").score.network == UNETS[published]


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_all_of_cifar_is_what_its_parts_are(data):
    """A stage that one of the parts has finished is finished for the whole: same settings, same run folder."""
    for size in ("smoke", "one-gpu-hour", "paper"):
        whole = load_recipe(ROOT / data / "all.yaml", size=size)
        for part in ("score-edm", "classifier-ce", "classifier-dlsm", "generator", "sample-guided", "diagnose"):
            recipe = load_recipe(ROOT / data / f"{part}.yaml", size=size)
            assert (recipe.name, recipe.data, recipe.seed) == (whole.name, whole.data, whole.seed)
            assert (recipe.schedule, recipe.score) == (whole.schedule, whole.score)
            assert recipe.classifiers.items() <= whole.classifiers.items()
            assert recipe.generators.items() <= whole.generators.items()
            if recipe.sample is not None and whole.sample is not None:
                assert recipe.sample.methods.items() <= whole.sample.methods.items()
                assert (recipe.sample.per_class, recipe.sample.batch) == (whole.sample.per_class, whole.sample.batch)


def test_a_run_that_was_stopped_in_its_first_stage_goes_on(tmp_path):
    changes = ["score.training.steps=3", "scores={}", "classifiers={}", "sample=null", "diagnose=null"]
    recipe = load_recipe(next(path for path in RECIPES if path.stem == "moons"), changes)
    work = run_recipe(recipe, tmp_path, Processes(cpu=True), "test")
    next(work)
    work.close()
    assert [event.done for event in run_recipe(recipe, tmp_path, Processes(cpu=True), "test")] == [2, 3]


@pytest.mark.parametrize("path", [p for p in RECIPES if p.parent.name == "recipes"], ids=name)
def test_a_recipe_runs_two_steps_end_to_end(path, tmp_path):
    recipe = load_recipe(path)
    trained = ["score", *(f"scores.{name}" for name in recipe.scores)]
    trained += [f"classifiers.{name}" for name in recipe.classifiers]
    changes = [f"{part}.training.{short}" for part in trained for short in ("steps=2", "snapshots=[1]")]
    changes += [f"generators.{name}.training.steps=2" for name in recipe.generators]
    if recipe.sample is not None:
        changes += ["sample.per_class=3"]
        many = [name for name, method in recipe.sample.methods.items() if (method.steps or method.nfe or 0) > 100]
        changes += [f"sample.methods.{name}={{sampler: ddim, steps: 5}}" for name in many]
    if path.stem != "digits":
        changes += ["evaluate=false"]
    if recipe.diagnose is not None:
        changes += ["diagnose.queries=10", "diagnose.levels=[1]", "diagnose.most=20"]
        changes += ["diagnose.grid.points=5"] if recipe.diagnose.grid is not None else []
    if recipe.calibrate is not None:
        changes += ["calibrate={levels: [1, 10], draws: 1, most: 20}"]
    small = load_recipe(path, changes)
    stages = {event.stage for event in run_recipe(small, tmp_path, Processes(cpu=True), "test")}
    assert "score" in stages
    assert (tmp_path / "run.json").exists()
    assert not list(run_recipe(small, tmp_path, Processes(cpu=True), "test"))  # the same again does nothing
