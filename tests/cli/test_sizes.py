"""Recipes that come in sizes, on the command line."""

import json

import pytest
import yaml

RECIPE = """
name: tiny
data: {kind: digits}
schedule: {kind: edm}
score: {network: {kind: mlp, width: 8, depth: 1}, training: {steps: 2, batch: 8}}
sizes:
  small: {score: {training: {steps: 3}}}
  smaller: {score: {training: {steps: 1}}}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_runs_in_the_size_that_is_chosen_in_a_folder_of_its_own(condgen, recipe, tmp_path):
    code, out, _ = condgen("run", recipe, "--size", "small")
    assert code == 0, out
    folder = tmp_path / "runs" / "tiny-small"
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["score"]["training"]["steps"] == 3
    assert json.loads((folder / "run.json").read_text())["name"] == "tiny-small"


def test_a_size_must_be_chosen_and_exist(condgen, recipe):
    code, _, err = condgen("run", recipe)
    assert (code, "choose one with --size small, --size smaller" in err) == (2, True)
    code, _, err = condgen("run", recipe, "--size", "smal")
    assert (code, "did you mean 'small'?" in err) == (2, True)


def test_one_stage_takes_its_part_of_a_size(condgen, recipe, tmp_path):
    code, _, _ = condgen("train-score", "--recipe", recipe, "--size", "smaller", "--out", tmp_path / "score")
    assert code == 0
    assert yaml.safe_load((tmp_path / "score" / "recipe.yaml").read_text())["score"]["training"]["steps"] == 1
    code, _, err = condgen("train-score", "--size", "smaller", "--out", tmp_path / "other")
    assert (code, "name it with --recipe" in err) == (2, True)
