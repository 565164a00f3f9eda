"""`condgen settings`: every setting of the schema, by its key."""

from typing import get_args

import pytest
from pydantic import BaseModel

from condgen.cli.settings import walk
from condgen.recipes.schema import Recipe
from tests.cli.conftest import bad, good


def models_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return set().union(*(models_in(part) for part in get_args(annotation)))


def test_every_field_of_the_schema_is_listed_once():
    models, waiting = set(), {Recipe}
    while waiting:
        models |= waiting
        inner = [models_in(field.annotation) for model in waiting for field in model.model_fields.values()]
        waiting = set().union(*inner) - models
    fields = {(model, name) for model in models for name in model.model_fields if name not in ("kind", "loss")}
    rows = list(walk(Recipe, once=True))
    assert len(rows) >= len(fields)
    assert {name for _, name in fields} == {row.key.rpartition(".")[2] for row in rows}


@pytest.mark.parametrize(
    ("key", "lines"),
    [
        ("score.training.lr", ["score.training.lr = 0.001  (number > 0)", "    learning rate"]),
        ("classifier.training.batch", ["classifiers.NAME.training.batch = 256  (integer > 0)"]),
        ("classifiers.mine.training.batch", ["classifiers.NAME.training.batch = 256  (integer > 0)"]),
        ("evaluate.cas_steps", ["evaluate.cas_steps = 2000  (integer >= 20)"]),
        ("schedule.sigma_min", ["schedule.sigma_min [edm] = 0.002  (number > 0)"]),
    ],
)
def test_a_setting_has_key_type_default_and_meaning(key, lines):
    assert set(lines) <= set(good("settings", key).splitlines())


def test_an_unknown_setting_is_suggested():
    assert "did you mean 'score.training.steps'?" in bad("settings", "score.training.stesp")


def test_samplers_are_listed_with_their_options():
    from condgen.samplers.catalogue import SAMPLERS, options_of

    out = good("samplers")
    for name, sampler in SAMPLERS.items():
        assert f"{name}: " in out
        assert sampler.info.paper in out
        for option, field in options_of(name).model_fields.items():
            assert f"--option {option}=" in out
            assert field.description in out
    assert "width of a Gaussian at the defaults: +4.8%, within 2% from 79 evaluations" in good("samplers", "heun")
