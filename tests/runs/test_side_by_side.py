"""Stages in processes of their own: the bits of stages in turn, and what a failure leaves."""

import json
from multiprocessing import active_children

import pytest
from processes import ALONE

from condgen.errors import UserError
from condgen.recipes.compose import load_recipe
from condgen.runs.plan import run_recipe


def stage_names(folder):
    return [row["stage"] for row in json.loads((folder / "run.json").read_text())["stages"]]


def test_side_by_side_gives_the_bits_of_one_after_the_other(digits_of_few_steps, tmp_path, one_thread):
    recipe = load_recipe(digits_of_few_steps / "recipe.yaml")
    events = list(run_recipe(recipe, tmp_path, ALONE, "test", jobs=2))
    assert all(event.seconds > 0 for event in events)
    assert stage_names(tmp_path) == stage_names(digits_of_few_steps)
    compared = [*tmp_path.rglob("model.safetensors"), *tmp_path.rglob("*.npz"), *tmp_path.rglob("[0-9]*.png")]
    assert len(compared) > 14
    for path in compared:
        assert path.read_bytes() == (digits_of_few_steps / path.relative_to(tmp_path)).read_bytes(), path
    assert not active_children()
    assert not list(run_recipe(recipe, tmp_path, ALONE, "test", jobs=2))


def test_where_one_process_is_killed_the_other_saves_what_it_has(digits_of_few_steps, tmp_path):
    """The longest, the classifier, waits for the score model that measures it, also where its loss needs none."""
    longer = [f"{part}.training.steps={n}00000" for n, part in enumerate(("score", "scores.told", "classifiers.ce"), 1)]
    recipe = load_recipe(digits_of_few_steps / "recipe.yaml", longer)
    seen = set()

    def kill_one_when_both_have_begun():
        for event in run_recipe(recipe, tmp_path, ALONE, "test", jobs=2):
            seen.update({event.stage} if event.done else ())
            if len(seen) == 2:
                active_children()[0].kill()

    with pytest.raises(UserError, match=r"the process of score.* is gone"):
        kill_one_when_both_have_begun()
    assert seen == {"score", "score told"}
    assert len(list(tmp_path.glob("score*/state"))) == 1
    assert not active_children()


def test_an_error_of_one_process_is_the_error_of_the_run(tmp_path):
    score = "{network: {kind: mlp}, training: {steps: 9, flip: true}}"
    text = f"{{name: x, data: {{kind: moons, n: 99}}, schedule: {{kind: ve}}, score: {score}}}"
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match="mirrors images"):
        list(run_recipe(load_recipe(tmp_path / "x.yaml"), tmp_path / "run", ALONE, "test", jobs=2))
    assert not active_children()
